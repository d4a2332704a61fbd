"""The parts of a ledger that a writer is given, as in the paper's ablation: measurements alone, descriptors alone, everything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cefm_core.reports.facts import compared
from cefm_core.reports.ledger import Facts

MEASURED = ("abc.", "colour.", "paper.", "structure.")
SELECTIONS: dict[str, Callable[[str], bool]] = {
    "measurements": lambda fact_id: not fact_id.startswith(("model.", "descriptor.", "visual.")),
    "descriptors": lambda fact_id: not fact_id.startswith(("model.", *MEASURED)),
    "full": lambda fact_id: True,
}
"""Whether a fact is given, by name of the selection: A, B, C alone; descriptors alone; the whole pipeline."""


def select(facts: Facts, selection: str) -> Facts:
    """Return a ledger in which the facts outside a selection have no value.

    A writer who is not given the measurements cannot know that a descriptor contradicts one: relations are compared anew.

    Args:
        facts: The ledger.
        selection: A key of ``SELECTIONS``.
    """
    given = SELECTIONS[selection]
    found = {fact.id: fact if given(fact.id) else fact.without_value("left_out") for fact in facts}
    return replace(facts, facts=tuple(compared(fact, found) for fact in found.values()))
