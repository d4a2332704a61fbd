import shutil
from pathlib import Path

import pytest

from tasks import caching


@pytest.fixture
def core(tmp_path, monkeypatch):
    """A small tree of core modules: entry -> helper -> deep, with a data file beside helper."""
    root = tmp_path / "cefm_core"
    (root / "part").mkdir(parents=True)
    (tmp_path / "tasks").mkdir()
    files = {
        "cefm_core/part/__init__.py": "",
        "cefm_core/part/entry.py": "from cefm_core.part import helper\n\ndef run():\n    return helper.value()\n",
        "cefm_core/part/helper.py": "def value():\n    from cefm_core.part.deep import number\n    return number * 2\n",
        "cefm_core/part/deep.py": "number = 1\n",
        "cefm_core/part/table.csv": "a,b\n1,2\n",
        "cefm_core/other.py": "unused = 1\n",
        "tasks/stage.py": "def stage():\n    return 1\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(caching, "_ROOT", tmp_path)
    yield tmp_path
    shutil.rmtree(tmp_path)


def digest(settings=None, weights=None):
    return caching.fingerprint("stage", settings or {"threshold": 0.5}, weights or {"net": "abc"}, ("cefm_core.part.entry",)).digest


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("cefm_core/part/entry.py", "from cefm_core.part import helper\n\ndef run():\n    return 1 + helper.value()\n"),
        ("cefm_core/part/helper.py", "def value():\n    from cefm_core.part.deep import number\n    return number * 3\n"),
        ("cefm_core/part/deep.py", "number = 2\n"),
        ("cefm_core/part/table.csv", "a,b\n1,3\n"),
        ("tasks/stage.py", "def stage():\n    return 2\n"),
    ],
)
def test_what_the_stage_reaches_changes_its_fingerprint(core: Path, file, text):
    before = digest()
    (core / file).write_text(text)
    assert digest() != before


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("cefm_core/other.py", "unused = 2\n"),
        ("cefm_core/part/deep.py", '"""A docstring."""\n\n# a comment\nnumber   =   1\n'),
        ("cefm_core/part/notes.md", "notes"),
    ],
)
def test_what_cannot_matter_does_not(core: Path, file, text):
    before = digest()
    (core / file).write_text(text)
    assert digest() == before


def test_settings_and_weights_count():
    assert digest() != digest(settings={"threshold": 0.4})
    assert digest() != digest(weights={"net": "abd"})


def test_row_keys_differ_by_input():
    assert caching.row_key("f", {"image_sha256": "a"}) != caching.row_key("f", {"image_sha256": "b"})
    assert caching.row_key("f", {"image_sha256": "a"}) != caching.row_key("g", {"image_sha256": "a"})


def test_libraries_a_stage_uses_are_named():
    parts = caching.code_parts(("cefm_core.tables.schema",))
    assert "library.pyarrow" in parts
    assert "code.cefm_core.tables.schema" in parts
