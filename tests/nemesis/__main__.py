# SPDX-License-Identifier: Apache-2.0
"""Real clusters under faults, load and judgement, one after the other, from one seed.

    ./dev nemesis [--minutes N] [--nodes K] [--seed S] [--faults SECONDS] [--rounds R]

Each cluster gets its number of nodes (3 to 8, unless --nodes says), its settings and its faults from a
seed, and lives for some rounds. A cluster that breaks a promise is the last: its logs, what was done to it
and the histories of the keys in question stay in a folder that is named.
"""

import argparse
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time

from . import nemesis


def arguments():
    parser = argparse.ArgumentParser(prog="./dev nemesis", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=5, help="how long (default: 5)")
    parser.add_argument("--nodes", type=int, choices=range(3, 9), metavar="3..8",
                        help="nodes of each cluster (default: drawn)")
    parser.add_argument("--seed", type=int, help="of the first cluster; the next has the next one")
    parser.add_argument("--faults", type=float, default=20, metavar="SECONDS",
                        help="faults of a round (default: 20)")
    parser.add_argument("--rounds", type=int, default=3, help="of a cluster (default: 3)")
    parser.add_argument("--patience", type=float, default=2,
                        help="what time limits are multiplied by (default: 2)")
    parser.add_argument("--evidence", default="nemesis-failures", metavar="FOLDER",
                        help="where a failure leaves what is known of it")
    return parser.parse_args()


def one_cluster(options, seed, until):
    """Some rounds of one cluster; None, or the folder with the evidence of its failure."""
    size = options.nodes or random.Random(f"size {seed}").choice((3, 3, 4, 5, 6, 8))
    folder = pathlib.Path(tempfile.mkdtemp(prefix="nemesis-"))
    played = nemesis.Nemesis(folder / "cluster", size, seed, patience=options.patience)
    failure = None
    try:
        played.start()
        for _ in range(options.rounds):
            played.round(options.faults)
            if time.monotonic() > until:
                break
    except AssertionError as error:
        failure = error
    try:
        played.close()
    except AssertionError as error:
        failure = failure or error
    evidence = None
    if failure:
        evidence = pathlib.Path(options.evidence) / f"seed-{seed}-{int(time.time())}"
        played.leave_evidence(evidence, failure)
        print(f"nemesis: {failure}")
        for key in dict.fromkeys(key for key, _ in played.oracle.violations[:2]):
            print(f"history of {key}:\n{played.oracle.history(key)}")
    shutil.rmtree(folder)
    return evidence


def main():
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    options = arguments()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10 ** 6)
    until = time.monotonic() + options.minutes * 60
    clusters = 0
    print(f"nemesis: seed {seed}")
    while time.monotonic() < until:
        evidence = one_cluster(options, seed + clusters, until)
        if evidence:
            print(f"nemesis: FAILED: repeat with --seed {seed + clusters}"
                  f"{f' --nodes {options.nodes}' if options.nodes else ''}; logs and histories are in "
                  f"{evidence}")
            return 1
        clusters += 1
    print(f"nemesis: {clusters} clusters, no promise broken")
    return 0


if __name__ == "__main__":
    sys.exit(main())
