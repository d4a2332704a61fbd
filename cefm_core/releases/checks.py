"""The outcome of one rule of a gate, and the table in which the outcomes of a run are kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from cefm_core.tables.schema import Column, Table

SEVERITIES = ("stop", "warn", "ask")
EXAMPLES = 12

TABLE = Table(
    name="gates",
    stage="",
    description="One rule that a gate evaluated in a run, and what an operator decided where it asked.",
    columns=(
        Column("table", "string", "Table that was checked"),
        Column("rule", "string", "Name of the rule: an expectation of the table's declaration, or a rule against the version before"),
        Column("column", "string", "Column that the rule is about; empty where it is about the table"),
        Column("severity", "string", "What a failure does: stop the run, warn, or ask an operator", allowed=SEVERITIES),
        Column("passed", "bool", "Whether the rule holds"),
        Column("message", "string", "What was found, in words"),
        Column("observed", "float", "The value that was judged; null where there is no single one", nullable=True),
        Column("limit", "float", "Its limit; null where there is no single one", nullable=True),
        Column("offending", "int", "Rows that break the rule", minimum=0),
        Column("examples", "strings", "The first of them, by primary key"),
        Column("decision", "string", "What an operator decided: go_on or stop; null where nobody was asked", nullable=True),
        Column("reason", "string", "The operator's reason", nullable=True),
    ),
    primary_key=("table", "rule", "column"),
    per_image=False,
)


@dataclass(frozen=True)
class Check:
    """One evaluated rule.

    Attributes:
        rule: Name of the rule.
        column: Column it is about, or "".
        severity: ``stop``, ``warn`` or ``ask``.
        passed: Whether it holds.
        message: What was found, in words.
        observed: The value judged, or None.
        limit: Its limit, or None.
        offending: How many rows break it.
        examples: Primary keys of the first of them.
    """

    rule: str
    column: str
    severity: str
    passed: bool
    message: str
    observed: float | None = None
    limit: float | None = None
    offending: int = 0
    examples: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """Return the check as plain JSON values."""
        return asdict(self) | {"examples": list(self.examples)}

    @property
    def line(self) -> str:
        """The message, with the first offending rows."""
        shown = ", ".join(self.examples[:5])
        return f"{self.message} ({self.offending} rows, e.g. {shown})" if self.examples else self.message


def failed(checks: Iterable[Check], severity: str) -> list[Check]:
    """Return the checks of one severity that do not hold."""
    return [check for check in checks if check.severity == severity and not check.passed]
