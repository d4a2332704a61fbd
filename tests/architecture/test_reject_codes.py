"""A reject code that is raised is documented, and a documented one is raised."""

import ast

from cefm_core.manifest.reject_codes import BY_CODE, REJECT_CODES, reject_codes_markdown
from tests.architecture.sources import modules


def raised_codes():
    """Return the literal first arguments of every ``BadItemError`` and ``NameReject``, with the module."""
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "BadItemError" and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant):
                    yield first.value, name


def test_every_raised_code_is_documented():
    found = list(raised_codes())
    assert len(found) > 20
    assert [(code, name) for code, name in found if code not in BY_CODE] == []


def test_every_documented_code_occurs_in_the_code():
    texts = {
        node.value
        for name, tree in modules().items()
        if not name.endswith("reject_codes.py")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert [code for code in BY_CODE if code not in texts] == []


def test_codes_are_unique_and_on_the_page():
    assert len(BY_CODE) == len(REJECT_CODES)
    page = reject_codes_markdown()
    for entry in REJECT_CODES:
        assert entry.code.replace("_", "").isalpha() and entry.code == entry.code.lower()
        assert f"| `{entry.code}` | {entry.meaning} | {entry.remedy} |" in page
