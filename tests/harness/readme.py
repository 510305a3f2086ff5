# SPDX-License-Identifier: Apache-2.0
"""README's examples, taken out, run as printed in one shell, and compared or written back.

A ```sh block holds commands. A ```console block holds commands after "$ ", each followed by what it
printed. All run in one shell, one after the other, as a reader would type them. Run as a program, with
the ports and the demo's folder free, this puts what was printed now into README:

    cd tests && python3 -m harness.readme
"""

import dataclasses
import re
import subprocess
import sys

from . import tree

MARK = "\x1e"  # ends what a command printed, before its exit status


@dataclasses.dataclass
class Command:
    line: int  # of README, from 1
    text: str
    printed: list  # None in an sh block


def commands(text):
    """All commands of README's blocks, in order."""
    found, language = [], None
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            language = line[3:] if language is None else None
        elif language == "sh":
            found.append(Command(number, line, None))
        elif language == "console" and line.startswith("$ "):
            found.append(Command(number, line[2:], []))
        elif language == "console":
            found[-1].printed.append(line)
    return found


def script(listed):
    """A shell script that runs them, and tells outputs and statuses apart."""
    lines = ["exec 2>&1"]
    for command in listed:
        lines += [command.text, f"printf '{MARK}%s\\n' $?"]
    return "\n".join(lines) + "\n"


def outcomes(listed, output):
    """For each command what it printed, as lines, and its exit status."""
    parts = re.split(f"{MARK}(\\d+)\n", output)
    assert len(parts) == 2 * len(listed) + 1, f"the shell ended early:\n{output[-2000:]}"
    return [(parts[i].splitlines(), int(parts[i + 1])) for i in range(0, len(parts) - 1, 2)]


# What differs from run to run.
VARYING = [
    (r"\b[0-9a-f]{8,16}\.[0-9a-f]+\.[0-9a-f]+\.\d+", "DOT"),
    (r"\b[0-9a-f]{7,}\b", "HEX"),
    (r"[\w-]{30,}", "TOKEN"),
    (r"\b\w{3}, \d+ \w{3} \d{4} [\d:]+ GMT", "DATE"),
    (r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+\d{4}", "DATE"),
    (r"\bpid \d+", "pid N"),
    (r"Content-Length: \d{3,}", "Content-Length: N"),  # of contexts, which are longer or shorter
    (r"\b\d{10,}\b", "TIME"),
    (r" +", " "),
    (r"(?m)^HEX .*$", lambda row: re.sub(r"\d+", "N", row[0])),
    # Rows of nodes, which come in the order of their ids.
    (r"(?m)(^HEX .*\n?)+", lambda rows: "\n".join(sorted(rows[0].splitlines())) + "\n"),
]


def constant(lines):
    """What must be the same in each run."""
    text = "\n".join(lines)
    for pattern, with_this in VARYING:
        text = re.sub(pattern, with_this, text)
    return text


def mistakes(listed, results):
    """Each command that failed in an sh block, or did not print what README says."""
    found = []
    for command, (printed, status) in zip(listed, results):
        if command.printed is None and status != 0:
            found.append(f"line {command.line}: $ {command.text}\nended with {status}:\n"
                         + "\n".join(printed[-20:]))
        elif command.printed is not None and constant(printed) != constant(command.printed):
            found.append(f"line {command.line}: $ {command.text}\nREADME says:\n"
                         + "\n".join(command.printed) + "\nit printed:\n" + "\n".join(printed))
    return found


def rewritten(text, listed, results):
    """README with what the commands printed now."""
    lines, kept, at = text.splitlines(), [], 0
    for command, (printed, _) in zip(listed, results):
        if command.printed is not None:
            kept += lines[at:command.line] + printed
            at = command.line + len(command.printed)
    return "\n".join(kept + lines[at:]) + "\n"


def main():
    readme = tree.ROOT / "README.md"
    text = readme.read_text()
    listed = commands(text)
    done = subprocess.run(["bash"], input=script(listed), cwd=tree.ROOT, text=True,
                          stdout=subprocess.PIPE, check=False)
    readme.write_text(rewritten(text, listed, outcomes(listed, done.stdout)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
