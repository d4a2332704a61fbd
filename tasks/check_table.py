"""The gate between two stages: a table against its own declaration, by Great Expectations, and against the version before.

An empty table, a missing column, an all-null column that must not be null, an infinity, a value out of range and a double key fail. Rules
about a single stage's numbers do not belong here; they stand in the declaration. What a failure does is set in ``gates.*``; the pause
in which an operator is asked belongs to the flow.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cefm_core.config import GatesConfig
from cefm_core.errors import GateFailedError
from cefm_core.releases.checks import EXAMPLES, Check, failed
from cefm_core.releases.drift import compare_with_previous, reject_rise
from cefm_core.tables.schema import Column, Table
from storage.gates import read_baseline
from storage.parquet import read_frame
from storage.refs import FileRef, canonical_json, digest_of
from storage.store import Store
from tasks.caching import Fingerprint, code_parts
from tasks.context import RunContext
from tasks.stage_task import as_cached, stage_task
from tasks.table_stage import Outputs, remember

if TYPE_CHECKING:
    import pandas as pd

_NUMBERS = {"float", "int"}
_FAILED_SHOWN = 40


@stage_task
def check_table(
    context: RunContext, table: FileRef, declaration: str, rows: int, rejected: int, causes: dict[str, int], label: str = "check_table"
) -> Outputs:
    """Check a table against its declaration and against the latest published version; stop the run where a rule says so.

    Args:
        context: The run.
        table: The table.
        declaration: Its name, a module of ``cefm_core.tables``.
        rows: How many rows the upstream count, less the rejects, promises.
        rejected: How many items the stage rejected.
        causes: How many of them by cause, for the message.
        label: Name of the task run.

    Returns:
        File ``gate``: every check; summary: ``table``, ``rows``, ``expectations`` (how many were evaluated), ``failures`` (of rules that
        stop), ``warnings``, ``asks`` (with ``decision_key``, what a decision about them holds for) and ``checks`` that failed.

    Raises:
        TableRefusedError: A rule whose severity is stop does not hold; each is named with its offending rows.
    """
    store = context.open_store()
    contract = _contract(context, table, declaration, rows)
    checks = [Check(**check | {"examples": tuple(check["examples"])}) for check in store.read_json(contract.files["contract"].key)]
    checks = [replace(check, severity=context.config.gates.contract) for check in checks]
    checks += _run_checks(context, table, declaration, (rows, rejected, causes), sound=all(check.passed for check in checks))
    body = {"table": declaration, "sha256": table.sha256, "rows": rows, "checks": [check.plain() for check in checks]}
    ref = store.put_object("gates", canonical_json(body), "json")
    summary = _summary(declaration, table.sha256, ref, (rows, rejected), checks)
    if summary["failures"]:
        raise TableRefusedError(declaration, summary)
    return as_cached(Outputs(files={"gate": ref}, summary=summary), contract.cached)


class TableRefusedError(GateFailedError):
    """A table broke a rule that stops the run; ``summary`` is that of the gate."""

    def __init__(self, declaration: str, summary: dict[str, Any]) -> None:
        super().__init__(f"gate on table {declaration}: " + "; ".join(summary["failures"]))
        self.summary = summary


def _summary(declaration: str, sha256: str, ref: FileRef, counts: tuple[int, int], checks: list[Check]) -> dict[str, Any]:
    broken = [check for check in checks if not check.passed]
    asks = [check.line for check in failed(checks, "ask")]
    return {
        "table": declaration,
        "gate": ref.model_dump(),
        "rows": counts[0],
        "rejected": counts[1],
        "expectations": len(checks),
        "failures": [check.line for check in failed(checks, "stop")],
        "warnings": [check.line for check in failed(checks, "warn")],
        "asks": asks,
        "decision_key": digest_of([declaration, sha256, asks]) if asks else None,
        "checks": [check.plain() for check in broken[:_FAILED_SHOWN]],
    }


def _contract(context: RunContext, table: FileRef, declaration: str, rows: int) -> Outputs:
    """Check a table against its declaration, once for each table."""
    print_ = Fingerprint("check_table", code_parts(("tasks.check_table", f"cefm_core.tables.{declaration}")))

    def make(store: Store) -> Outputs:
        checks = contract_checks(read_frame(store, table), _declaration(declaration), rows)
        return Outputs(files={"contract": store.put_object("gates", canonical_json([check.plain() for check in checks]), "json")})

    return remember(context, print_, {"table": table.sha256, "rows": rows}, make)


def _run_checks(context: RunContext, table: FileRef, declaration: str, counts: tuple[int, int, dict[str, int]], sound: bool) -> list[Check]:
    """Check what depends on the run and on the version before; a table that breaks its declaration is compared with nothing."""
    rows, rejected, causes = counts
    config, share = context.config.gates, context.config.runtime.max_reject_share
    store = context.open_store()
    checks = [_reject_share(rows, rejected, share, causes, config)]
    baseline = read_baseline(store, declaration)
    if baseline is None:
        return checks
    if baseline.items and rows + rejected:
        now = rejected / (rows + rejected)
        checks.append(reject_rise(now, baseline.rejected / baseline.items, rows + rejected, baseline.items, config))
    if baseline.table != table and sound and store.holds(baseline.table):
        checks += compare_with_previous(read_frame(store, baseline.table), read_frame(store, table), _declaration(declaration), config)
    return checks


def _reject_share(rows: int, rejected: int, limit: float, causes: dict[str, int], config: GatesConfig) -> Check:
    share = rejected / (rows + rejected) if rows + rejected else 0.0
    message = f"{rejected} of {rows + rejected} items were rejected"
    if share > limit:
        most = "; ".join(f"{count} x {cause}" for cause, count in causes.items())
        message += f", more than max_reject_share = {limit} ({most})"
    return Check("reject_share", "", config.reject_share, share <= limit, message, share, limit, rejected if share > limit else 0)


def contract_checks(frame: pd.DataFrame, declared: Table, rows: int) -> list[Check]:
    """Evaluate every expectation a declaration implies.

    Args:
        frame: The table.
        declared: Its declaration.
        rows: Expected number of rows; at least one is expected in any case.

    Returns:
        One check for each expectation.

    Raises:
        GateFailedError: Fewer expectations were evaluated than declared.
    """

    def alone(rule: str, column: str, message: str) -> Check:
        return Check(rule, column, "stop", False, message)

    missing = [column.name for column in declared.columns if column.name not in frame.columns]
    if missing:
        return [alone("column_present", name, f"column {name} missing") for name in missing]
    if len(frame) == 0:
        return [alone("rows_present", "", "the table is empty")]
    expectations = _expectations(declared, rows)
    results = _validate(_flat(frame, declared), expectations)
    if len(results) != len(expectations):
        raise GateFailedError(f"gate on table {declared.name}: {len(results)} of {len(expectations)} expectations were evaluated")
    return [_as_check(result, frame, declared) for result in results] + _null_reasons(frame, declared)


def _expectations(declared: Table, rows: int) -> list[Any]:
    import great_expectations.expectations as gxe

    found: list[Any] = [
        gxe.ExpectTableColumnsToMatchOrderedList(column_list=[c.name for c in declared.columns]),
        gxe.ExpectTableRowCountToEqual(value=rows),
    ]
    if len(declared.primary_key) == 1:
        found.append(gxe.ExpectColumnValuesToBeUnique(column=declared.primary_key[0]))
    else:
        found.append(gxe.ExpectCompoundColumnsToBeUnique(column_list=list(declared.primary_key)))
    for column in declared.columns:
        found += _column_expectations(column, gxe)
    return found


def _column_expectations(column: Column, gxe: Any) -> list[Any]:
    found = [] if column.nullable else [gxe.ExpectColumnValuesToNotBeNull(column=column.name)]
    if column.type in _NUMBERS and (column.minimum is not None or column.maximum is not None):
        found.append(gxe.ExpectColumnValuesToBeBetween(column=column.name, min_value=column.minimum, max_value=column.maximum))
    elif column.type == "float":
        limit = 1.7e308
        found.append(gxe.ExpectColumnValuesToBeBetween(column=column.name, min_value=-limit, max_value=limit))
    if column.allowed is not None and column.type == "string":
        found.append(gxe.ExpectColumnValuesToBeInSet(column=column.name, value_set=list(column.allowed)))
    return found


def _validate(frame: pd.DataFrame, expectations: list[Any]) -> list[Any]:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    batch = context.data_sources.add_pandas("table").add_dataframe_asset("table").add_batch_definition_whole_dataframe("table")
    suite = gx.ExpectationSuite(name="table", expectations=expectations)
    validated = batch.get_batch({"dataframe": frame}).validate(suite, result_format={"result_format": "COMPLETE"})
    return list(validated.results)


def _flat(frame: pd.DataFrame, declared: Table) -> pd.DataFrame:
    """Stand a flag in for list cells: expectations compare scalars."""
    flat = frame.copy()
    for column in declared.columns:
        if column.type in {"vector", "strings", "floats"}:
            flat[column.name] = frame[column.name].map(lambda value: None if value is None else "list")
    return flat


def _as_check(result: Any, frame: pd.DataFrame, declared: Table) -> Check:
    rule = result.expectation_config.type.removeprefix("expect_")
    settings = result.expectation_config.kwargs
    column = settings.get("column") or ""
    indexes = [index for index in (result.result or {}).get("unexpected_index_list") or [] if isinstance(index, int)]
    examples = tuple(str(value) for value in frame[declared.primary_key[0]].iloc[indexes[:EXAMPLES]])
    limits = {k: v for k, v in settings.items() if k in {"min_value", "max_value", "value", "value_set"} and v is not None}
    message = f"{column} {rule.replace('_', ' ')} {limits or ''}".strip()
    if result.exception_info and result.exception_info.get("raised_exception"):
        message += f": {result.exception_info.get('exception_message')}"
    elif not result.success and not examples:
        message += f" (observed {(result.result or {}).get('observed_value')})"
    return Check(rule, column, "stop", bool(result.success), message, None, None, len(indexes), examples)


def _null_reasons(frame: pd.DataFrame, declared: Table) -> list[Check]:
    """Return whether every null of a column with a reason column has its reason."""
    checks = []
    for column in declared.columns:
        if column.nullable and column.reason_column:
            bare = frame[column.name].isna() & frame[column.reason_column].isna()
            rows = tuple(str(value) for value in frame[declared.primary_key[0]][bare][:EXAMPLES])
            message = f"{column.name} is {'null without' if bare.any() else 'never null without'} a reason in {column.reason_column}"
            checks.append(Check("null_has_reason", column.name, "stop", not bare.any(), message, None, None, int(bare.sum()), rows))
    return checks


def _declaration(name: str) -> Table:
    from importlib import import_module

    return import_module(f"cefm_core.tables.{name}").TABLE
