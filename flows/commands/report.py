"""``cefm report IMAGE``: one published report as a document."""

from __future__ import annotations

import sys
from pathlib import Path

from cefm_core.errors import ConfigurationError
from storage.store import Store
from storage.versions import read_outputs


def hand_out(store: str, image_id: str, form: str, out: Path | None) -> None:
    """Write the published report on an image in one of its forms, to a file or to standard output.

    Raises:
        ConfigurationError: There is no such form or no such report, or a PDF would go to a terminal.
    """
    from cefm_core.reports.export import FORMATS, export
    from tasks.report_sheet import read_sheet

    if form not in FORMATS:
        raise ConfigurationError(f"--format {form}: give {', '.join(FORMATS)}")
    if form == "pdf" and out is None and sys.stdout.isatty():
        raise ConfigurationError("--format pdf: name a file with --out")
    opened = Store.open(store)
    data = export(read_sheet(opened, read_outputs(opened), image_id), form)
    if out is None:
        sys.stdout.buffer.write(data)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".partial")
    partial.write_bytes(data)
    partial.replace(out)
