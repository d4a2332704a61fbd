"""Whatever `make bench` collects can be run: it would end at the first file that cannot."""

import importlib
import inspect
from pathlib import Path

import pytest

NAMES = sorted(path.stem for path in (Path(__file__).parents[1] / "benchmarks").glob("bench_*.py"))


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_has_a_short_and_a_long_form(name):
    assert list(inspect.signature(importlib.import_module(f"tests.benchmarks.{name}").run).parameters) == ["quick"]
