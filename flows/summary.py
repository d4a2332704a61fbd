"""What a run says of itself at the end: for machines, for the terminal and for the UI."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from cefm_core.errors import IntegrityError
from flows.stage_run import FlowResult
from storage import keys
from storage.backends import object_url
from storage.refs import FileRef
from storage.store import Store
from storage.versions import read_version
from tasks.context import RunContext

_NOTICE = "Research software, not a medical device: no result is a diagnosis."


class RunSummary(BaseModel):
    """The outcome of a run; ``--json`` prints exactly this.

    Attributes:
        run_id: Identifier of the run.
        store: URI of the store.
        version: Number of the published version.
        stages: One entry a stage: name, in, out, rejected, cached, reused, seconds, note; ``before``: seconds per item worked on
            in the run before, or None.
        metrics: Headline scores on the held-out images, by name.
        headline: What the evaluation says first; a shortcut warning, if any, stands first.
        outputs: Reference by output name.
        report_url: Where the run page lies.
    """

    run_id: str
    store: str
    version: int
    stages: list[dict[str, Any]]
    metrics: dict[str, Any]
    headline: list[str]
    outputs: dict[str, FileRef]
    report_url: str


def summarise(context: RunContext, result: FlowResult, version: int, site: dict[str, Any], before: list[dict[str, Any]]) -> RunSummary:
    """Gather a run's counts, scores and links; ``before`` are the stages of an earlier run to compare with."""
    earlier = {stage["name"]: _per_item(stage) for stage in before}
    stages = [
        {
            "name": record.name,
            "in": record.items_in,
            "out": record.items_out,
            "rejected": record.rejected,
            "cached": record.cached,
            "reused": record.reused,
            "seconds": record.seconds,
            "note": record.note,
            "before": earlier.get(record.name),
        }
        for record in result.stages
    ]
    return RunSummary(
        run_id=context.run_id,
        store=context.store,
        version=version,
        stages=stages,
        metrics=site["metrics"],
        headline=result.facts.get("headline", []),
        outputs=result.outputs,
        report_url=object_url(context.store, site["run_page"]),
    )


def stages_of_version(store: Store, number: int) -> list[dict[str, Any]]:
    """Return the stages of the run that published a version; none where it is gone or there is no such version."""
    try:
        run_id = read_version(store, number)["run_id"] if number else ""
        return store.read_json(keys.run_key(run_id, "run.json"))["stages"] if run_id else []
    except (IntegrityError, KeyError):
        return []


def _per_item(stage: dict[str, Any]) -> float | None:
    """Seconds per item worked on; None where the stage had nothing to do."""
    worked = stage["in"] - stage["reused"]
    return round(stage["seconds"] / worked, 4) if worked else None


def summary_markdown(summary: RunSummary) -> str:
    """Return the summary as a Markdown page of bounded size."""
    lines = [f"# Run {summary.run_id}", "", f"_{_NOTICE}_", "", *(f"- {line}" for line in summary.headline[:10]), ""]
    lines += ["| stage | in | out | rejected | cached | seconds | s per item | run before, s per item | note |"]
    lines += ["| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: | --- |"]
    lines += [
        f"| {s['name']} | {s['in']} | {s['out']} | {s['rejected']} | {_cached(s)} | {s['seconds']:.1f} "
        f"| {_seconds(_per_item(s))} | {_seconds(s['before'])} | {_cell(s['note'])} |"
        for s in summary.stages
    ]
    lines += ["", "| metric | value |", "| --- | --- |", *(f"| {name} | {_scored(value)} |" for name, value in summary.metrics.items())]
    return "\n".join([*lines, "", f"Version {summary.version} of `{summary.store}`. [Report site]({summary.report_url})"])


def summary_text(summary: RunSummary) -> str:
    """Return the summary as plain lines for a terminal."""
    lines = [f"run {summary.run_id}, version {summary.version} of {summary.store}", *summary.headline[:10]]
    lines += [
        f"  {s['name']:<20} in {s['in']:>6} out {s['out']:>6} rejected {s['rejected']:>4} {_cached(s):<12} {s['seconds']:>8.1f} s"
        for s in summary.stages
    ]
    lines += [f"  {name}: {_scored(value)}" for name, value in summary.metrics.items()]
    return "\n".join([*lines, _NOTICE, f"report: {summary.report_url}"])


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _cell(text: str) -> str:
    """Return text that stays inside its cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


def _cached(stage: dict[str, Any]) -> str:
    return "cached" if stage["cached"] else (f"{stage['reused']} reused" if stage["reused"] else "")


def _scored(value: Any) -> str:
    if isinstance(value, dict):
        if value.get("value") is None:
            return f"not defined ({value.get('reason')})"
        interval = f" ({value['low']:.3f}-{value['high']:.3f})" if value.get("low") is not None else ""
        return f"{value['value']:.3f}{interval}, n = {value['n']}"
    return str(value)
