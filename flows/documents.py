"""The documents that are made from code: written by ``make docs``, compared by ``make check``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from cefm_core.stages import STAGES

_ROOT = Path(__file__).resolve().parent.parent


def stage_table() -> str:
    """Return the stage table of ARCHITECTURE.md."""
    lines = ["| stage | reads | writes | core | task | flow |", "| --- | --- | --- | --- | --- | --- |"]
    lines += [
        f"| {s.name} | {', '.join(s.reads)} | {', '.join(f'`{w}`' if '_' in w or w in _TABLES else w for w in s.writes)} "
        f"| [{s.core}/](cefm_core/{s.core}) | [{s.name}](tasks/{s.name}.py) | [{s.flow}](flows/{s.flow}.py) |"
        for s in STAGES
    ]
    return "\n".join(lines)


_TABLES = {path.stem for path in (_ROOT / "cefm_core" / "tables").glob("*.py")}


def architecture() -> str:
    """Return ARCHITECTURE.md with its stage table made anew."""
    begin, end = "<!-- stages:begin -->", "<!-- stages:end -->"
    text = (_ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{stage_table()}\n{end}{after}"


def documents() -> dict[str, Callable[[], str]]:
    """Return the maker of each document by its path."""
    from cefm_core.manifest.layouts import layouts_markdown
    from cefm_core.manifest.reject_codes import reject_codes_markdown
    from cefm_core.tables.docs import config_markdown, tables_markdown

    return {
        "ARCHITECTURE.md": architecture,
        "docs/tables.md": tables_markdown,
        "docs/settings.md": config_markdown,
        "docs/reject_codes.md": reject_codes_markdown,
        "docs/sources.md": layouts_markdown,
    }


def main() -> None:
    """Write the documents, or with ``--check`` name those that are not current and exit 1."""
    stale = []
    for name, make in documents().items():
        file, text = _ROOT / name, make()
        if file.exists() and file.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
    if stale and "--check" in sys.argv:
        sys.exit(f"not current: {', '.join(stale)}; run `make docs`")
    print(f"{len(stale)} of {len(documents())} documents rewritten" if stale else "all documents current")


if __name__ == "__main__":
    main()
