"""The gate between two stages: a rule that stops ends the run, one that asks makes it wait for an operator's decision.

An operator decides in the Prefect UI: the paused flow run has a Resume button with a form. The decision holds for these very
findings on this very table, so a run that is repeated does not ask again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact

from cefm_core.errors import GateFailedError
from flows.ask import GateDecision, NobodyDecidedError, ask
from flows.console import PROGRESS
from storage.backends import object_url
from storage.gates import read_decision, record_decision
from storage.refs import FileRef
from tasks.check_table import TableRefusedError, check_table
from tasks.context import RunContext
from tasks.gate_page import gate_page

if TYPE_CHECKING:
    from flows.stage_run import FlowResult

_SHOWN = 20


def gate(
    context: RunContext,
    result: FlowResult,
    table: str,
    ref: FileRef,
    rows: int,
    rejected: int = 0,
    causes: dict[str, int] | None = None,
) -> None:
    """Check a table; what its rules' severities say happens.

    Raises:
        GateFailedError: A rule stops the run, or an operator did, or nobody decided in time.
    """
    outcome = check_table.submit(context, ref, table, rows, rejected, causes or {}, label=f"check {table}").result(raise_on_failure=False)
    if isinstance(outcome, TableRefusedError):
        result.gates.append(outcome.summary)
        raise GateFailedError(f"{outcome}; see {record_gates(context, result)}")
    if isinstance(outcome, BaseException):
        raise outcome
    result.gates.append(dict(outcome.summary))
    for line in outcome.summary["warnings"]:
        get_run_logger().warning("gate on table %s: %s", table, line)
        PROGRESS.warning("gate on table %s: %s", table, line)
    if outcome.summary["asks"]:
        _ask(context, result, result.gates[-1])


def _ask(context: RunContext, result: FlowResult, summary: dict[str, Any]) -> None:
    """Wait for an operator, unless these findings were decided on before."""
    store, table, key = context.open_store(), summary["table"], summary["decision_key"]
    decided = read_decision(store, key)
    if decided is None:
        answer = _answer(context, summary, record_gates(context, result))
        decided = record_decision(store, key, context.run_id, table, summary["asks"], answer.decision, answer.reason)
    summary |= {"decision": decided["decision"], "reason": decided["reason"]}
    get_run_logger().info("gate on table %s: operator decided %s: %s", table, decided["decision"], decided["reason"])
    if decided["decision"] == "stop":
        raise GateFailedError(f"gate on table {table}: stopped by an operator: {decided['reason']}; see {record_gates(context, result)}")


def _answer(context: RunContext, summary: dict[str, Any], page: str) -> GateDecision:
    table, findings = summary["table"], "; ".join(summary["asks"])
    PROGRESS.warning("gate on table %s asks; resume the paused flow run in the Prefect UI: %s", table, findings)
    try:
        return ask(_question(summary, page), f"gate-{table.replace('_', '-')}", context.config.gates.ask_timeout_s)
    except NobodyDecidedError as error:
        raise GateFailedError(f"gate on table {table}: {error}: {findings}; see {page}") from error


def _question(summary: dict[str, Any], page: str) -> str:
    lines = [f"**Gate on table `{summary['table']}`** ({summary['rows']} rows, {summary['rejected']} rejected)", ""]
    return "\n".join([*lines, *(f"- {line}" for line in summary["asks"][:_SHOWN]), "", f"Offending rows: {page}"])


def record_gates(context: RunContext, result: FlowResult) -> str:
    """Write table and page of the gates so far, put what failed among the run's artifacts, and return the page's address."""
    url = object_url(context.store, gate_page.submit(context, result.gates).result())
    create_markdown_artifact(gates_markdown(result.gates, url), key="gates", description=f"Gates of {context.title}")
    return url


def gates_markdown(gates: list[dict[str, Any]], url: str) -> str:
    """Return the gates as a Markdown page of bounded size."""
    lines = ["| table | rows | rejected | rules | stop | ask | warn |", "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for gate_ in gates:
        found = [len(gate_[name]) for name in ("failures", "asks", "warnings")]
        lines.append(
            f"| {gate_['table']} | {gate_['rows']} | {gate_['rejected']} | {gate_['expectations']} | " + " | ".join(map(str, found)) + " |"
        )
    findings = [f"- `{g['table']}`: {line}" for g in gates for line in (*g["failures"], *g["asks"], *g["warnings"])]
    return "\n".join([*lines, "", *findings[:_SHOWN], "", f"[Offending rows, pictures and history]({url})"])
