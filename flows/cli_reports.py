"""The commands about reports: hand out, correct, check, compare, have rated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli_options import STORE, JsonOption, RefreshOption, SetOption, SettingsOption, StoreOption, from_environment, read_config

app = typer.Typer()
study_app = typer.Typer(no_args_is_help=True, help="A blinded reader study of reports: rating sheets, and what the answers say.")
app.add_typer(study_app, name="reader-study")


@app.command()
def report(
    image_id: Annotated[str | None, typer.Argument(metavar="[IMAGE]", help="Only hand out the published report on this image")] = None,
    store: StoreOption = STORE,
    form: Annotated[str, typer.Option("--format", help="With IMAGE: text, markdown, html or pdf")] = "text",
    out: Annotated[Path | None, typer.Option("--out", help="With IMAGE: file to write; without it, standard output")] = None,
    settings: SettingsOption = None,
    set_: SetOption = None,
    refresh: RefreshOption = None,
    json_: JsonOption = False,
) -> None:
    """Write reports on a store's latest version; with IMAGE, hand out one of them as a document."""
    if image_id is None:
        from flows.commands.run import later

        config = read_config(settings, set_) if settings or set_ or from_environment() else None
        later("write_reports", store, config, tuple(refresh or ()), json_)
        return
    from flows.commands.report import hand_out

    hand_out(store, image_id, form, out)


@app.command()
def facts(image_id: str, store: StoreOption = STORE) -> None:
    """Print the facts a report on one image may state, as JSON."""
    from flows.commands.inspect import facts as command

    command(image_id, store)


@app.command("compare-writers")
def compare_writers(
    store: StoreOption = STORE,
    writer: Annotated[list[str] | None, typer.Option("--writer", help="template, MODEL@URL or MODEL@URL@VARIABLE of its key")] = None,
    images: Annotated[int, typer.Option("--images", min=1, help="Ledgers each writer gets")] = 50,
    given: Annotated[list[str] | None, typer.Option("--given", help="measurements, descriptors or full; without it, all three")] = None,
    invented: Annotated[bool, typer.Option("--invented", help="Invented ledgers instead of the store's")] = False,
    price: Annotated[list[str] | None, typer.Option("--price", help="MODEL=IN,OUT, prices of a million tokens")] = None,
    bert_score: Annotated[Path | None, typer.Option("--bert-score", help="Folder of a language model: adds BERTScore")] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for page and table")] = Path("writers"),
    settings: SettingsOption = None,
    set_: SetOption = None,
    json_: JsonOption = False,
) -> None:
    """Let several writers write on the same facts; the checker scores them, beside length, time and cost."""
    from flows.commands import compare_writers as commands

    parts = tuple(given or ("measurements", "descriptors", "full"))
    request = commands.Request(tuple(writer or ("template",)), images, parts, invented, tuple(price or ()), out, bert_score)
    commands.compare_writers(store, request, read_config(settings, set_), json_)


@study_app.command("make")
def study_make(
    out: Annotated[Path, typer.Option("--out", help="Folder for the rating sheets")],
    key: Annotated[Path, typer.Option("--key", help="File for the key that undoes the blinding, outside of that folder")],
    store: StoreOption = STORE,
    images: Annotated[int, typer.Option("--images", min=1, help="Images to be rated")] = 30,
    raters: Annotated[int, typer.Option("--raters", min=1, help="Raters, called R1, R2 and so on")] = 3,
    arm: Annotated[list[str] | None, typer.Option("--arm", help="published, published@VERSION, measurements, descriptors or full")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of codes and orders; without it, one is drawn")] = None,
) -> None:
    """Write rating sheets on a store's reports, and apart from them the key."""
    from flows.commands.reader_study import make as command

    command(store, out, key, images, raters, tuple(arm or ("published", "measurements", "descriptors")), seed)


@study_app.command("score")
def study_score(
    answers: Annotated[list[Path], typer.Argument(help="Files that the raters handed back")],
    key: Annotated[Path, typer.Option("--key", help="The study's key")],
    out: Annotated[Path, typer.Option("--out", help="Page of the results to write")] = Path("reader-study.html"),
    json_: JsonOption = False,
) -> None:
    """Score the raters' answers: means with intervals, agreement, the paper's beside them."""
    from flows.commands.reader_study import score as command

    command(key, answers, out, json_)


@app.command("check-report")
def check_report(facts: Path, report: Path) -> None:
    """Judge a report against its facts; exit 1 when it must not be published."""
    from flows.commands.inspect import check_report as command

    command(facts, report)


@app.command()
def correct(
    image_id: Annotated[str | None, typer.Argument(metavar="[IMAGE]", help="The image, for one correction")] = None,
    store: StoreOption = STORE,
    fact: Annotated[str | None, typer.Option("--fact", help="Id of the fact, e.g. abc.border_score")] = None,
    level: Annotated[int | None, typer.Option("--level", min=1, max=5, help="The level that is right")] = None,
    wrong: Annotated[bool, typer.Option("--wrong", help="The value is wrong and is not to be stated")] = False,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Take an earlier correction back")] = False,
    files: Annotated[
        list[Path] | None, typer.Option("--from", help="File that a report page downloaded, or CSV; may be given again")
    ] = None,
    reviewer: Annotated[str, typer.Option("--reviewer", help="Code of who corrects, e.g. R1; never a name")] = "",
    show: Annotated[bool, typer.Option("--list", help="Only print the corrections that stand")] = False,
    json_: JsonOption = False,
) -> None:
    """Store what a clinician corrects; `cefm report` then re-writes the reports concerned."""
    from flows.commands import correct as commands

    if show:
        commands.show_corrections(store)
        return
    single = commands.given(image_id, fact, level, wrong, withdraw, reviewer)
    commands.correct(store, files or [], single, reviewer, json_)
