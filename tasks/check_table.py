"""The gate between two stages: a table against its own declaration, by Great Expectations.

An empty table, a missing column, an all-null column that must not be null, an infinity, a value out of range and a double key fail. Rules
about a single stage's numbers do not belong here; they stand in the declaration.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from cefm_core.errors import GateFailedError
from cefm_core.tables.schema import Column, Table
from storage.parquet import read_frame
from storage.refs import FileRef, canonical_json
from storage.store import Store
from tasks.caching import Fingerprint, code_parts
from tasks.context import RunContext
from tasks.stage_task import as_cached, stage_task
from tasks.table_stage import Outputs, remember

if TYPE_CHECKING:
    import pandas as pd

_NUMBERS = {"float", "int"}
_SHOWN = 10


@stage_task
def check_table(
    context: RunContext, table: FileRef, declaration: str, rows: int, rejected: int, causes: dict[str, int], label: str = "check_table"
) -> Outputs:
    """Check a table and stop the run when it fails.

    Args:
        context: The run.
        table: The table.
        declaration: Its name, a module of ``cefm_core.tables``.
        rows: How many rows the upstream count, less the rejects, promises.
        rejected: How many items the stage rejected.
        causes: How many of them by cause, for the message.
        label: Name of the task run.

    Raises:
        GateFailedError: Any expectation fails; each failure is named with its offending rows.
    """
    declared = _declaration(declaration)
    share = context.config.runtime.max_reject_share
    print_ = Fingerprint("check_table", code_parts(("tasks.check_table", f"cefm_core.tables.{declaration}")))
    inputs = {"table": table.sha256, "rows": rows, "rejected": rejected, "max_reject_share": share}

    def make(store: Store) -> Outputs:
        failures, expectations = evaluate_gate(read_frame(store, table), declared, rows)
        if rejected > share * (rows + rejected):
            most = "; ".join(f"{count} x {cause}" for cause, count in causes.items())
            failures.append(f"{rejected} of {rows + rejected} items were rejected, more than max_reject_share = {share} ({most})")
        body = {"table": declaration, "sha256": table.sha256, "rows": rows, "expectations": expectations + 1, "failures": failures}
        return Outputs(files={"gate": store.put_object("gates", canonical_json(body), "json")}, summary=body)

    outputs = remember(context, print_, inputs, make)
    if outputs.summary["failures"]:
        raise GateFailedError(f"gate on table {declaration}: " + "; ".join(outputs.summary["failures"]))
    return as_cached(outputs, outputs.cached)


def evaluate_gate(frame: pd.DataFrame, declared: Table, rows: int) -> tuple[list[str], int]:
    """Evaluate every expectation a declaration implies.

    Args:
        frame: The table.
        declared: Its declaration.
        rows: Expected number of rows; at least one is expected in any case.

    Returns:
        The failures in words, and how many expectations were evaluated.

    Raises:
        GateFailedError: Fewer expectations were evaluated than declared.
    """
    missing = [column.name for column in declared.columns if column.name not in frame.columns]
    if missing:
        return [f"column {name} missing" for name in missing], len(declared.columns)
    if len(frame) == 0:
        return ["the table is empty"], 1
    expectations = _expectations(declared, rows)
    results = _validate(_flat(frame, declared), expectations)
    if len(results) != len(expectations):
        raise GateFailedError(f"gate on table {declared.name}: {len(results)} of {len(expectations)} expectations were evaluated")
    failures = [_in_words(result, frame, declared) for result in results if not result.success]
    return failures + _unexplained_nulls(frame, declared), len(expectations)


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


def _in_words(result: Any, frame: pd.DataFrame, declared: Table) -> str:
    kind = result.expectation_config.type.removeprefix("expect_").replace("_", " ")
    settings = result.expectation_config.kwargs
    where = settings.get("column") or ""
    indexes = (result.result or {}).get("unexpected_index_list") or []
    key = declared.primary_key[0]
    offenders = [str(frame[key].iloc[index]) for index in indexes[:_SHOWN] if isinstance(index, int)]
    if result.exception_info and result.exception_info.get("raised_exception"):
        return f"{where} {kind}: {result.exception_info.get('exception_message')}"
    observed = (result.result or {}).get("observed_value")
    limits = {k: v for k, v in settings.items() if k in {"min_value", "max_value", "value", "value_set"} and v is not None}
    detail = f" ({len(indexes)} rows, e.g. {', '.join(offenders)})" if offenders else f" (observed {observed})"
    return f"{where} {kind} {limits or ''}{detail}".strip()


def _unexplained_nulls(frame: pd.DataFrame, declared: Table) -> list[str]:
    failures = []
    for column in declared.columns:
        if column.nullable and column.reason_column:
            bare = frame[column.name].isna() & frame[column.reason_column].isna()
            if bare.any():
                failures.append(f"{column.name} is null without a reason in {column.reason_column} ({int(bare.sum())} rows)")
    return failures


def _declaration(name: str) -> Table:
    from importlib import import_module

    return import_module(f"cefm_core.tables.{name}").TABLE
