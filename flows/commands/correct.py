"""``cefm correct``: what a clinician found wrong goes into the store; the next run re-writes the reports concerned, and no others."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

from cefm_core.errors import ConfigurationError
from cefm_core.reports.corrections import Correction, check_reviewer, objection, read_corrections, seen_of, standing
from cefm_core.reports.ledger import Facts
from flows.console import say
from storage.corrections import add_corrections, read_log
from storage.store import Store
from storage.versions import read_outputs

_OBJECTIONS_SHOWN = 20


def correct(store: str, files: list[Path], single: Correction | None, reviewer: str, as_json: bool) -> None:
    """Store corrections, all of them or, if anything is amiss with one, none.

    Args:
        store: URI of the store.
        files: Files that report pages downloaded, or CSV.
        single: A correction given on the command line.
        reviewer: Code of who made them.
        as_json: Print one JSON object.

    Raises:
        ConfigurationError: A file is none of corrections, or a correction names what the latest version does not have.
    """
    try:
        check_reviewer(reviewer)
        made = [each for file in files for each in _read(file, reviewer)] + ([single] if single else [])
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    if not made:
        raise ConfigurationError("nothing to correct: give IMAGE with --fact and --level, --wrong or --withdraw, or --from FILE")
    opened = Store.open(store)
    batch = add_corrections(opened, _checked(opened, made))
    images = len({each.image_id for each in made})
    say(f"{len(made)} corrections of {images} images are stored (batch {batch}); `cefm report --store {store}` re-writes their reports")
    if as_json:
        print(json.dumps({"store": opened.uri, "batch": batch, "corrections": len(made), "images": images}))


def given(image_id: str | None, fact: str | None, level: int | None, wrong: bool, withdraw: bool, reviewer: str) -> Correction | None:
    """Return the correction that a command line describes, or None where it describes none.

    Raises:
        ConfigurationError: It describes half of one, or several at once.
    """
    kinds = [kind for kind, wanted in (("level", level is not None), ("wrong", wrong), ("withdrawn", withdraw)) if wanted]
    if image_id is None and fact is None and not kinds:
        return None
    if image_id is None or fact is None or len(kinds) != 1:
        raise ConfigurationError("one correction is IMAGE, --fact, and one of --level, --wrong and --withdraw")
    return Correction(image_id, fact, kinds[0], level, reviewer=reviewer)


def show_corrections(store: str) -> None:
    """Print the corrections that stand, as JSON: one list of entries an image."""
    found = standing(read_log(Store.open(store)))
    print(json.dumps({image_id: [asdict(each) for each in made] for image_id, made in found.items()}, indent=2, ensure_ascii=False))


def _read(file: Path, reviewer: str) -> tuple[Correction, ...]:
    try:
        return read_corrections(file.read_text(encoding="utf-8"), reviewer)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"--from {file}: {error}") from error


def _checked(store: Store, made: list[Correction]) -> list[Correction]:
    """Return corrections that fit the latest version, each with what it was made on."""
    from tasks.ledgers import read_ledgers

    ledgers = {name: ledger.measured for name, ledger in read_ledgers(store, read_outputs(store), {each.image_id for each in made}).items()}
    faults = [f"no image {name} in the latest version" for name in sorted({each.image_id for each in made} - ledgers.keys())]
    faults += [fault for each in made if each.image_id in ledgers and (fault := objection(ledgers[each.image_id], each))]
    twice = Counter((each.image_id, each.fact) for each in made)
    faults += [f"{fact} of {image_id} is corrected {count} times at once" for (image_id, fact), count in twice.items() if count > 1]
    if faults:
        more = f"\n... and {len(faults) - _OBJECTIONS_SHOWN} more" if len(faults) > _OBJECTIONS_SHOWN else ""
        raise ConfigurationError("nothing is stored:\n" + "\n".join(faults[:_OBJECTIONS_SHOWN]) + more)
    return [each if each.seen or each.kind == "withdrawn" else replace(each, seen=_seen(ledgers, each)) for each in made]


def _seen(ledgers: dict[str, Facts], correction: Correction) -> str:
    return seen_of(ledgers[correction.image_id][correction.fact])
