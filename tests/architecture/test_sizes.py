"""Files and functions stay small enough to be read at once."""

import ast
import statistics

from tests.architecture.sources import ROOT, modules, tracked_files

LONGEST_FILE = 300
LONGEST_FUNCTION = 60
LONG_FUNCTION = 45
LARGEST_TRACKED_BYTES = 16 * 2**20


def function_lengths():
    """Return ``(lines without docstring, module, name)`` of every function."""
    found = []
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[0]
                has_docstring = ast.get_docstring(node, clean=False) is not None
                docstring = first.end_lineno - first.lineno + 1 if has_docstring else 0
                found.append((node.end_lineno - node.lineno + 1 - docstring, name, node.name))
    return found


def test_files_are_short():
    lengths = {name: len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in modules()}
    assert {name: n for name, n in lengths.items() if n > LONGEST_FILE} == {}


def test_functions_are_short():
    lengths = function_lengths()
    assert statistics.median(n for n, _, _ in lengths) < 15
    assert sum(n < LONG_FUNCTION for n, _, _ in lengths) >= 0.95 * len(lengths)
    assert [entry for entry in lengths if entry[0] > LONGEST_FUNCTION] == []


def test_no_drawer_for_everything():
    assert [name for name in modules() if name.rsplit("/", 1)[-1] in ("utils.py", "util.py", "helpers.py", "common.py", "misc.py")] == []


def test_no_assert_where_python_may_skip_it():
    found = [f"{name}:{node.lineno}" for name, tree in modules().items() for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert found == []


def test_every_module_says_what_it_is_for():
    silent = [name for name, tree in modules().items() if not (ast.get_docstring(tree) or "").strip() and tree.body]
    assert silent == []


def test_tracked_files_are_not_huge():
    assert [path.relative_to(ROOT).as_posix() for path in tracked_files() if path.stat().st_size > LARGEST_TRACKED_BYTES] == []
