"""What the page of a run's gates shows, as plain values for its template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cefm_core.releases.diff_view import Thumb, plain

_TONE = {"stop": "bad", "ask": "warn", "warn": "warn"}
_SAID = {"stop": "stops the run", "ask": "asks an operator", "warn": "warning"}
_PICTURES = 12


def gate_view(
    run_id: str, gates: Sequence[Mapping[str, Any]], history: Sequence[Mapping[str, Any]], thumb: Thumb, per_image: frozenset[str]
) -> dict[str, Any]:
    """Return the variables of ``gates.html.j2``.

    Args:
        run_id: The run.
        gates: Summaries of the gates so far, in order; ``decision`` and ``reason`` where an operator was asked.
        history: Published versions, latest first, each with its gates' counts.
        thumb: Address of an image's thumbnail (a ``data:`` URI), or None.
        per_image: Tables whose primary key is an image.
    """
    return {
        "run_id": run_id,
        "stopped": any(gate["failures"] or gate.get("decision") == "stop" for gate in gates),
        "tiles": _tiles(gates),
        "findings": [finding for gate in gates for finding in _findings(gate, thumb, per_image)],
        "gates": [_line(gate) for gate in gates],
        "history": [_version(entry) for entry in history],
    }


def _tiles(gates: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    numbers = (
        ("tables checked", len(gates), ""),
        ("rules evaluated", sum(gate["expectations"] for gate in gates), ""),
        ("that stop the run", sum(len(gate["failures"]) for gate in gates), "bad"),
        ("that ask", sum(len(gate["asks"]) for gate in gates), "warn"),
        ("warnings", sum(len(gate["warnings"]) for gate in gates), "warn"),
    )
    return [{"name": name, "value": f"{count:,}", "tone": tone if count else ""} for name, count, tone in numbers]


def _findings(gate: Mapping[str, Any], thumb: Thumb, per_image: frozenset[str]) -> list[dict[str, Any]]:
    return [
        {
            "table": gate["table"],
            "rule": check["rule"].replace("_", " "),
            "column": check["column"],
            "tone": _TONE[check["severity"]],
            "said": _SAID[check["severity"]],
            "message": check["message"],
            "observed": plain(check["observed"]),
            "limit": plain(check["limit"]),
            "offending": f"{check['offending']:,}",
            "examples": [
                {"key": key, "thumb": thumb(key) if gate["table"] in per_image else None} for key in check["examples"][:_PICTURES]
            ],
            "hidden": max(check["offending"] - min(len(check["examples"]), _PICTURES), 0),
            "decision": (gate.get("decision") or "").replace("_", " ") if check["severity"] == "ask" else "",
            "reason": gate.get("reason") or "",
        }
        for check in gate["checks"]
    ]


def _line(gate: Mapping[str, Any]) -> dict[str, Any]:
    kinds = (("stop", gate["failures"]), ("ask", gate["asks"]), ("warn", gate["warnings"]))
    return {
        "table": gate["table"],
        "rows": f"{gate['rows']:,}",
        "rejected": gate["rejected"],
        "share": f"{gate['rejected'] / max(gate['rows'] + gate['rejected'], 1):.1%}",
        "expectations": gate["expectations"],
        "chips": [{"text": f"{len(found)} {kind}", "tone": _TONE[kind]} for kind, found in kinds if found],
        "decision": (gate.get("decision") or "").replace("_", " "),
    }


def _version(entry: Mapping[str, Any]) -> dict[str, Any]:
    gates = {gate["table"]: gate for gate in entry["gates"]}
    manifest = gates.get("manifest")
    return {
        "version": entry["version"],
        "run_id": entry["run_id"],
        "images": f"{manifest['rows']:,}" if manifest else "—",
        "rejected": f"{sum(gate['rejected'] for gate in gates.values()):,}" if gates else "—",
        "rules": f"{sum(gate['expectations'] for gate in gates.values()):,}" if gates else "—",
        "warnings": sum(gate["warnings"] for gate in gates.values()) if gates else "—",
        "asks": sum(gate["asks"] for gate in gates.values()) if gates else "—",
    }
