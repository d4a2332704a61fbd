"""The docs pages of the tables and of the settings, made from their declarations alone."""

from __future__ import annotations

import importlib
import pkgutil
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

import cefm_core.tables as package
from cefm_core.config import LARGEST, CefmConfig
from cefm_core.stages import STAGES
from cefm_core.tables.schema import LINEAGE, Column, Table

_TYPE_WORDS = {
    "string": "text",
    "float": "number",
    "int": "whole number",
    "bool": "true or false",
    "vector": "list of numbers (float32)",
    "strings": "list of texts",
    "floats": "list of numbers",
}


def declared_tables() -> list[Table]:
    """Return the declaration of every module of ``cefm_core.tables`` that has one, in the order of the stages, then by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    modules = [importlib.import_module(f"{package.__name__}.{name}") for name in names if name != __name__.rsplit(".", 1)[-1]]
    order = {stage.name: index for index, stage in enumerate(STAGES)}
    tables: list[Table] = [module.TABLE for module in modules if isinstance(getattr(module, "TABLE", None), Table)]
    return sorted(tables, key=lambda table: (order.get(table.stage, len(order)), table.name))


def tables_markdown() -> str:
    """Return the docs page of all tables: every column with type, unit, range, meaning, and why it may be null."""
    from cefm_core.tables.manifest import FLAGS

    tables = declared_tables()
    lines = [
        "# Tables",
        "",
        "Every table is Parquet with exactly these columns; pyarrow, DuckDB and pandas read them without CEFM. A missing value is null",
        "and, for a number, has a reason in the column named here; 0 and NaN never stand for a missing value.",
        "",
        "Tables with a row per image end with " + " and ".join(f"`{c.name}` ({_lower(c.description)})" for c in LINEAGE) + ".",
        "",
        *(f"- [{table.name}](#{table.name}): {_lower(table.description)}" for table in tables),
    ]
    for table in tables:
        lines += ["", *_table_section(table)]
        if table.name == "manifest":
            lines += ["", "Flags:", "", "| flag | meaning |", "| --- | --- |"]
            lines += [f"| `{flag}` | {_cell(meaning)} |" for flag, meaning in FLAGS.items()]
    return "\n".join(lines) + "\n"


def config_markdown() -> str:
    """Return the docs page of the settings: every field of every stage with default, range and meaning."""
    lines = [
        "# Settings",
        "",
        "One TOML file with a table per stage (`[coarse]`, then `threshold = 0.4`); single values can lie over it by their dotted name,",
        "`coarse.threshold=0.4`. An unknown name or a value out of its range is an error before the first image. All settings but those of",
        "`runtime` decide outputs and enter the cache keys of their stage; those of `runtime` never do. No whole number is above",
        f"{LARGEST}.",
    ]
    for name, info in CefmConfig.model_fields.items():
        section = info.annotation
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            raise TypeError(f"setting {name} is no table of settings")
        lines += ["", f"## {name}", "", (section.__doc__ or "").strip().splitlines()[0], ""]
        lines += ["| setting | default | values | meaning |", "| --- | --- | --- | --- |"]
        lines += [_setting_line(field, field_info) for field, field_info in section.model_fields.items()]
    return "\n".join(lines) + "\n"


def _table_section(table: Table) -> list[str]:
    own = [c for c in table.columns if c not in LINEAGE]
    key = ", ".join(f"`{name}`" for name in table.primary_key)
    lines = [f"## {table.name}", "", f"{_sentence(table.description)} Written by `{table.stage}`; key: {key}.", ""]
    lines += ["| column | type | unit | values | meaning | null |", "| --- | --- | --- | --- | --- | --- |"]
    return lines + [
        f"| `{c.name}` | {_TYPE_WORDS[c.type]} | {_cell(c.unit)} | {_values(c)} | {_cell(c.description)} | {_null(c)} |" for c in own
    ]


def _values(column: Column) -> str:
    if column.allowed:
        return ", ".join(f"`{_cell(value)}`" for value in column.allowed)
    return _interval(column.minimum, column.maximum)


def _interval(low: float | None, high: float | None, *, open_low: bool = False, open_high: bool = False) -> str:
    words = []
    if low is not None:
        words.append(f"{'>' if open_low else '>='} {low:.15g}")
    if high is not None:
        words.append(f"{'<' if open_high else '<='} {high:.15g}")
    return " and ".join(words)


def _null(column: Column) -> str:
    if not column.nullable:
        return "never"
    return f"see `{column.reason_column}`" if column.reason_column else "yes"


def _setting_line(name: str, info: FieldInfo) -> str:
    default = info.get_default(call_default_factory=True)
    shown = "none" if default is None else repr(default).replace("'", '"')
    return f"| `{name}` | `{_cell(shown)}` | {_setting_values(info)} | {_cell(info.description or '')} |"


def _setting_values(info: FieldInfo) -> str:
    """Say in words what a setting takes: its choices, its type, its bounds."""
    bounds: dict[str, Any] = {}
    for constraint in info.metadata:
        limits = {key: getattr(constraint, key, None) for key in ("ge", "gt", "le", "lt")}
        bounds.update({key: limit for key, limit in limits.items() if limit not in (None, LARGEST)})
    interval = _interval(
        bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt")), open_low="gt" in bounds, open_high="lt" in bounds
    )
    kind = _type_words(info.annotation)
    return f"{kind}, {interval}" if interval else kind


def _type_words(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_words(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_type_words(argument) for argument in arguments)
    if origin in (tuple, list):
        plural = "" if get_origin(arguments[0]) is Literal else "s"
        return f"list of {_type_words(arguments[0])}{plural}"
    words = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "none"}
    return words.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _sentence(text: str) -> str:
    return text if text.endswith(".") else text + "."


def _lower(text: str) -> str:
    """Return a description as part of a sentence: small first letter, no full stop."""
    keep = len(text) > 1 and text[1].isupper()
    return (text if keep else text[:1].lower() + text[1:]).rstrip(".")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
