# SPDX-License-Identifier: Apache-2.0
"""The habits of the tree hold, and a breach of each would be seen."""

import pathlib
import shutil
import subprocess

import pytest

from . import sources, tree

CLEAN = "/* SPDX-License-Identifier: Apache-2.0 */\n/* Why this is here. */\nint a;\n"

CHECKS = [
    (sources.without_licence, {"node/a.c": "int a;\n"}),
    (sources.without_licence, {"tests/a.py": "import os\n"}),
    (sources.without_licence, {"fs/meson.build": "subdir('x')\n"}),
    (sources.without_purpose, {"node/a.c": "/* SPDX-License-Identifier: Apache-2.0 */\nint a;\n"}),
    (sources.too_long, {"node/a.c": CLEAN + "\n" * 700}),
    (sources.too_wide, {"node/a.c": CLEAN + "/* " + "wide " * 20 + "*/\n"}),
    (sources.shared_dependencies, {"node/adapter/a.c": "#include <curl/curl.h>\n",
                                   "fs/adapter/b.h": '# include "curl/curl.h"\n'}),
    (sources.shared_dependencies, {"fs/adapter/a.c": "#include <fuse3/fuse_lowlevel.h>\n",
                                   "fs/adapter/b.c": "#include <fuse_lowlevel.h>\n"}),
    (sources.unfinished, {"node/a.c": CLEAN + "/* TO" + "DO: the rest */\n"}),
]


@pytest.mark.parametrize("check", sorted({check for check, _ in CHECKS}, key=lambda c: c.__name__),
                         ids=lambda check: check.__name__)
def test_the_tree_is_free_of(check):
    assert check(tree.load()) == []


@pytest.mark.parametrize("check, planted", CHECKS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_planted_breach_is_found(check, planted):
    assert check(planted)
    assert not check({"node/a.c": CLEAN})


def clang_format(*paths):
    return subprocess.run(["clang-format", "--dry-run", "-Werror", *paths], cwd=tree.ROOT,
                          capture_output=True, text=True, check=False)


def test_the_tree_is_formatted():
    result = clang_format(*filter(tree.is_c, tree.paths()))
    assert result.returncode == 0, result.stderr[-4000:]


def test_unformatted_code_is_found(tmp_path):
    shutil.copy(tree.ROOT / ".clang-format", tmp_path)
    bad = tmp_path / "a.c"
    bad.write_text("int  main( void ) {\n  return 0; }\n")
    assert clang_format(bad).returncode != 0


def compile_c(text, tmp_path, *options):
    path = tmp_path / "a.c"
    path.write_text(text)
    return subprocess.run(
        ["cc", "-std=gnu17", "-Werror", "-include", tree.ROOT / "common/base/banned.h", *options,
         "-c", path, "-o", tmp_path / "a.o"], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("call", ["strcpy(a, b)", "strcat(a, b)", 'sprintf(a, "%s", b)',
                                  'strtok(a, ",")', "atoi(b)"])
def test_a_banned_call_does_not_compile(call, tmp_path):
    body = "#include <string.h>\nvoid f(char *a, const char *b);\nvoid f(char *a, const char *b)\n"
    assert compile_c(body + "{ (void)a; (void)b; }\n", tmp_path).returncode == 0
    result = compile_c(body + f"{{ (void)a; (void)b; (void){call}; }}\n", tmp_path)
    assert result.returncode != 0 and "poisoned" in result.stderr


def test_the_build_includes_the_ban_everywhere():
    text = pathlib.Path(tree.ROOT / "meson.build").read_text()
    assert "'-include'" in text and "base/banned.h" in text
