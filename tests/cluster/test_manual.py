# SPDX-License-Identifier: Apache-2.0
"""The manual pages and the programs' own help name the same verbs and options."""

import re
import subprocess

import pytest

from harness import tree

MAN = tree.ROOT / "man"
VERBS = ["get", "put", "rm", "ls", "conflicts", "status", "stats", "set", "settings", "ring",
         "cluster create", "cluster up", "cluster down", "cluster add", "join", "leave", "remove",
         "replace", "weight", "zone", "plan", "commit", "abort", "transfers", "backup", "restore",
         "resolve", "history"]


def help_of(program, *words):
    done = subprocess.run([program, *words, "--help"], capture_output=True, text=True, check=True)
    return done.stdout


def manual(page):
    """A page's text, without the marks of its markup."""
    text = re.sub(r"\\f[BIRP]", "", (MAN / page).read_text())
    return text.replace("\\-", "-")


def long_options(text):
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


def mount_options(text):
    """The words before = in what describes -o, and those that take no value."""
    return set(re.findall(r"\b([a-z_]+)=", text))


@pytest.mark.parametrize("verb", VERBS)
def test_dynactl_1_knows_each_option_of_a_verb(verb):
    assert verb in manual("dynactl.1")
    missing = long_options(help_of(tree.DYNACTL, *verb.split())) - long_options(manual("dynactl.1"))
    assert not missing


def test_dynactl_knows_each_option_of_its_manual():
    helped = long_options(help_of(tree.DYNACTL))
    for verb in VERBS:
        helped |= long_options(help_of(tree.DYNACTL, *verb.split()))
    assert not long_options(manual("dynactl.1")) - helped


def test_dynamount_and_its_manual_know_the_same_options():
    helped, described = help_of(tree.DYNAMOUNT), manual("dynamount.1")
    options = described[described.index(".SH OPTIONS"):described.index(".SH UNMOUNTING")]
    assert mount_options(helped) == mount_options(options)


def test_dynanode_and_its_manual_know_the_same_options():
    described = manual("dynanode.8")
    options = described[described.index(".SH OPTIONS"):described.index(".SH HTTP")]
    assert long_options(help_of(tree.DYNANODE)) == long_options(options)


def test_dynanode_conf_5_knows_each_setting():
    """Those that the program would look up are the words in its table of settings."""
    source = (tree.ROOT / "node" / "node_config.c").read_text()
    settings = set(re.findall(r'\((?:cfg|c), "([a-z_]+)"', source))
    assert len(settings) > 20
    described = manual("dynanode.conf.5")
    assert not {name for name in settings if not re.search(rf"\b{name}\b", described)}
