"""The documents that are made from code are current, and say what the code says."""

import re

import pytest

from cefm_core.config import CefmConfig, ManifestConfig
from cefm_core.tables.docs import config_markdown
from flows.documents import documents
from tests.architecture.sources import ROOT


@pytest.mark.parametrize("name", documents())
def test_document_is_current(name):
    file = ROOT / name
    assert file.exists() and file.read_text(encoding="utf-8") == documents()[name](), f"{name} is not current; run `make docs`"


def test_every_setting_is_on_the_page_with_its_default():
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", config_markdown(), flags=re.M | re.S))
    assert list(sections) == list(CefmConfig.model_fields)
    for name, info in CefmConfig.model_fields.items():
        for field, described in info.annotation.model_fields.items():
            assert described.description, f"{name}.{field} has no description"
            assert f"| `{field}` |" in sections[name]
    assert f"| `tune_share` | `{ManifestConfig().tune_share}` | number, > 0 and < 0.5 |" in sections["manifest"]
    assert '| `unspecific_benign` | `"unknown"` | `unknown`, `nevus` |' in sections["manifest"]


def test_no_cell_breaks_its_table():
    for name, make in documents().items():
        width = None
        for line in make().splitlines():
            bars = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else None
            assert bars is None or width is None or bars == width, f"{name}: {line[:80]}"
            width = bars
