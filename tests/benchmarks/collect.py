"""Run every benchmark of this folder and write docs/benchmarks.md. Nothing here asserts a time."""

from __future__ import annotations

import importlib
import platform
import sys
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent
_ROOT = _FOLDER.parents[1]


def _machine() -> str:
    import os

    import torch

    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), ""
    )
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return f"{model or platform.processor()}, {os.cpu_count()} cores; GPU: {cuda}; {versions}"


def main() -> None:
    """Run the benchmarks named on the command line, or all; ``--quick`` for a short form that is printed, not written."""
    quick = "--quick" in sys.argv
    wanted = [name for name in sys.argv[1:] if not name.startswith("--")]
    names = wanted or sorted(path.stem for path in _FOLDER.glob("bench_*.py"))
    parts = [
        "# Benchmarks",
        "",
        "Made by `make bench`. Peers run in the same process run as what they are compared with.",
        "",
        f"Machine: {_machine()}.",
        "",
    ]
    for name in names:
        print(name, file=sys.stderr, flush=True)
        title = name.removeprefix("bench_").replace("_", " ")
        parts += [f"## {title}", "", importlib.import_module(f"tests.benchmarks.{name}").run(quick).strip(), ""]
    page = "\n".join(parts)
    if quick or wanted:
        print(page)
    else:
        (_ROOT / "docs" / "benchmarks.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
