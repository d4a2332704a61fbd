"""The stage table, the code and the declarations say the same."""

import re

import pytest

from cefm_core.config import CefmConfig, RuntimeConfig
from cefm_core.stages import BY_NAME, STAGES
from cefm_core.tables.docs import declared_tables
from tests.architecture.sources import ROOT


def table_of_architecture():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = [
        [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", cell).replace("`", "").strip() for cell in line.strip("| ").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    start = next(i for i, row in enumerate(rows) if row[0] == "stage")
    return [dict(zip(rows[start], row, strict=True)) for row in rows[start + 2 :] if len(row) == len(rows[start])]


def listed(cell):
    return [part.strip() for part in cell.split(",")]


def test_architecture_md_lists_the_stages_of_the_code():
    rows = table_of_architecture()
    assert [row["stage"] for row in rows] == [stage.name for stage in STAGES]
    for row, stage in zip(rows, STAGES, strict=True):
        assert listed(row["reads"]) == list(stage.reads), stage.name
        assert listed(row["writes"]) == list(stage.writes), stage.name
        assert row["core"].rstrip("/") == stage.core, stage.name
        assert row["task"] == stage.name
        assert row["flow"] == stage.flow, stage.name


def test_links_of_architecture_md_lead_somewhere():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)]+)\)", text) if "://" not in target]
    assert targets
    assert [target for target in targets if target and not (ROOT / target).exists()] == []


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stage_has_its_core_task_flow_and_settings(stage):
    assert (ROOT / "cefm_core" / stage.core / "__init__.py").is_file()
    assert (ROOT / "tasks" / f"{stage.name}.py").is_file()
    assert (ROOT / "flows" / f"{stage.flow}.py").is_file()
    assert stage.config in CefmConfig.model_fields
    assert CefmConfig.model_fields[stage.config].annotation is not RuntimeConfig


def test_every_table_is_written_by_a_stage_and_every_written_table_is_declared():
    tables = {table.name: table for table in declared_tables()}
    assert all(table.stage in BY_NAME for table in tables.values())
    for stage in STAGES:
        main = stage.writes[0]
        assert main in tables or " " in main or main == "checkpoint", f"{stage.name} writes {main}, which has no declaration"
        if main in tables:
            assert tables[main].stage == stage.name
