"""The ``cefm`` command: names, flags and exit codes. What a command does lies in ``flows/commands``.

Nothing heavy is imported here, so that ``cefm --help`` answers at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cefm_core.errors import CefmError, ConfigurationError, GateFailedError

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Explainable melanoma analysis of dermoscopic images at data-set scale. Research software, not a medical device.",
)

study_app = typer.Typer(no_args_is_help=True, help="A blinded reader study of reports: rating sheets, and what the answers say.")
app.add_typer(study_app, name="reader-study")

_STORE = "demo-store"
StoreOption = Annotated[str, typer.Option("--store", envvar="CEFM_STORE", help="Store: a folder, or s3://, gs://, az://")]
SettingsOption = Annotated[Path | None, typer.Option("--settings", help="TOML file with a table per stage")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="One setting, e.g. --set coarse.threshold=0.4; may be given again")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line")]
RefreshOption = Annotated[list[str] | None, typer.Option("--refresh", help="Recompute this stage whatever is cached; may be given again")]
ImagesArgument = Annotated[Path, typer.Argument(help="Folder of images")]
OutFile = Annotated[Path, typer.Option("--out", help="Parquet file to write")]


@app.command()
def demo(
    store: StoreOption = _STORE,
    images: Annotated[int, typer.Option(help="Number of rendered photographs")] = 200,
    settings: SettingsOption = None,
    set_: SetOption = None,
    json_: JsonOption = False,
) -> None:
    """Run the whole chain on rendered lesions with known truth."""
    from flows.commands.run import demo as command

    command(store, images, _config(settings, set_), json_)


@app.command()
def run(
    source: Annotated[str, typer.Option("--source", help="Source images: a folder or an object-store prefix")],
    store: StoreOption,
    metadata: Annotated[
        list[str] | None, typer.Option("--metadata", help="CSV or Parquet with labels, lesions, splits; may be given again")
    ] = None,
    duplicates: Annotated[str | None, typer.Option("--duplicates", help="CSV with two columns: names of duplicate images")] = None,
    settings: SettingsOption = None,
    set_: SetOption = None,
    refresh: RefreshOption = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would run, on how many images, and why")] = False,
    json_: JsonOption = False,
) -> None:
    """Run the whole chain on a data set; what is done already is not done again."""
    from flows.commands import run as commands

    context = commands.RunContext(
        source=source, metadata=metadata, duplicates=duplicates, store=store, config=_config(settings, set_), refresh=tuple(refresh or ())
    )
    (commands.plan if plan else commands.run)(context, json_)


@app.command()
def fetch(
    out: Annotated[Path, typer.Argument(help="Folder to fill; started again, it is completed and checked")],
    collection: Annotated[list[int] | None, typer.Option("--collection", help="Number of a collection; may be given again")] = None,
    query: Annotated[str, typer.Option("--query", help="Search of the archive, e.g. 'diagnosis_3:Nevus AND sex:male'")] = "",
    licence: Annotated[list[str] | None, typer.Option("--licence", help="Only this licence, e.g. CC-0; may be given again")] = None,
    limit: Annotated[int, typer.Option("--limit", help="At most so many images; 0 = all", min=0)] = 0,
    api: Annotated[str, typer.Option("--api", help="Address of the archive's API")] = "https://api.isic-archive.com/api/v2",
    json_: JsonOption = False,
) -> None:
    """Fetch images and metadata of the ISIC archive into a folder that `cefm run` reads."""
    from flows.commands import fetch as commands

    wanted = commands.Wanted(tuple(collection or ()), query, tuple(licence or ()), limit)
    commands.fetch(out, wanted, api, json_)


@app.command()
def segment(
    images: ImagesArgument,
    out: Annotated[Path, typer.Option("--out", help="Folder for <id>.png masks and masks.parquet")],
    refiner: Annotated[str, typer.Option(help="auto, sam2, medsam-lite, classical or none")] = "none",
    settings: SettingsOption = None,
    set_: SetOption = None,
    json_: JsonOption = False,
) -> None:
    """Segment a folder of images: masks (0/255) and a table."""
    from flows.commands.folders import segment as command

    command(images, out, _config(settings, [*(set_ or []), f"refine.refiner={refiner}"]), json_)


@app.command()
def measure(
    images: ImagesArgument,
    masks: Annotated[Path, typer.Argument(help="Folder of masks, one per image id")],
    out: OutFile,
    profile: Annotated[str, typer.Option(help="clinical or paper")] = "clinical",
    settings: SettingsOption = None,
    set_: SetOption = None,
    json_: JsonOption = False,
) -> None:
    """Measure lesions inside given masks: one row per image."""
    from flows.commands.folders import measure as command

    command(images, masks, out, profile, _config(settings, set_), json_)


@app.command()
def predict(
    images: ImagesArgument,
    store: StoreOption,
    out: OutFile,
    settings: SettingsOption = None,
    set_: SetOption = None,
    json_: JsonOption = False,
) -> None:
    """Predict new images with the latest published model: calibrated probability, interval, abstention."""
    from flows.commands.folders import predict as command

    command(images, store, out, _config(settings, set_), json_)


def _later(stage_flow: str) -> Any:
    def command(
        store: StoreOption,
        settings: SettingsOption = None,
        set_: SetOption = None,
        refresh: RefreshOption = None,
        json_: JsonOption = False,
    ) -> None:
        from flows.commands.run import later

        later(stage_flow, store, _config(settings, set_), tuple(refresh or ()), json_)

    return command


app.command("embed", help="Embed the images of a store's latest version and train on them.")(_later("train_alignment"))
app.command("train", help="Train projection heads and classifiers on a store's latest version.")(_later("train_alignment"))
app.command("evaluate", help="Predict and evaluate on a store's latest version.")(_later("evaluate_alignment"))
app.command("describe", help="Rank descriptors and write reports on a store's latest version.")(_later("write_reports"))


@app.command()
def report(
    image_id: Annotated[str | None, typer.Argument(metavar="[IMAGE]", help="Only hand out the published report on this image")] = None,
    store: StoreOption = _STORE,
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

        later("write_reports", store, _config(settings, set_), tuple(refresh or ()), json_)
        return
    from flows.commands.report import hand_out

    hand_out(store, image_id, form, out)


@app.command("paper-tables")
def paper_tables(
    train: Path,
    test: Path,
    out: Annotated[Path | None, typer.Option("--out", help="Markdown page to write")] = None,
    json_: JsonOption = False,
) -> None:
    """Clinical classifier and shortcut sentinel on the paper's released tables."""
    from flows.commands.paper import paper_tables as command

    command(train, test, out, json_)


@app.command()
def facts(image_id: str, store: StoreOption = _STORE) -> None:
    """Print the facts a report on one image may state, as JSON."""
    from flows.commands.inspect import facts as command

    command(image_id, store)


@app.command("compare-writers")
def compare_writers(
    store: StoreOption = _STORE,
    writer: Annotated[list[str] | None, typer.Option("--writer", help="template, MODEL@URL or MODEL@URL@VARIABLE of its key")] = None,
    images: Annotated[int, typer.Option("--images", min=1, help="Ledgers each writer gets")] = 50,
    given: Annotated[list[str] | None, typer.Option("--given", help="measurements, descriptors or full; without it, all three")] = None,
    invented: Annotated[bool, typer.Option("--invented", help="Invented ledgers instead of the store's")] = False,
    price: Annotated[list[str] | None, typer.Option("--price", help="MODEL=IN,OUT, prices of a million tokens")] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for page and table")] = Path("writers"),
    settings: SettingsOption = None,
    set_: SetOption = None,
    json_: JsonOption = False,
) -> None:
    """Let several writers write on the same facts; the checker scores them, beside length, time and cost."""
    from flows.commands import compare_writers as commands

    parts = tuple(given or ("measurements", "descriptors", "full"))
    request = commands.Request(tuple(writer or ("template",)), images, parts, invented, tuple(price or ()), out)
    commands.compare_writers(store, request, _config(settings, set_), json_)


@study_app.command("make")
def study_make(
    out: Annotated[Path, typer.Option("--out", help="Folder for the rating sheets")],
    key: Annotated[Path, typer.Option("--key", help="File for the key that undoes the blinding, outside of that folder")],
    store: StoreOption = _STORE,
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
    store: StoreOption = _STORE,
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


@app.command()
def show(image_id: str, store: StoreOption = _STORE) -> None:
    """Print everything known about one image, with lineage."""
    from flows.commands.inspect import show as command

    command(image_id, store)


@app.command()
def diff(
    run_a: str,
    run_b: str,
    store: StoreOption = _STORE,
    page: Annotated[Path | None, typer.Option("--page", help="HTML page to write; it needs no other file")] = None,
    table: Annotated[Path | None, typer.Option("--table", help="Parquet file to write, one row for each change")] = None,
    json_: JsonOption = False,
) -> None:
    """Print what changed between two runs (by id) or published versions (by number)."""
    from flows.commands.diff import diff as command

    command(run_a, run_b, store, page, table, json_)


@app.command()
def why(key: str, store: StoreOption = _STORE) -> None:
    """Name the part of a stage's fingerprint that changed: KEY is a stage name or a fingerprint's digest."""
    from flows.commands.inspect import why as command

    command(key, store)


@app.command()
def doctor(
    store: StoreOption = _STORE,
    source: Annotated[str | None, typer.Option("--source", help="Source images")] = None,
    settings: SettingsOption = None,
    set_: SetOption = None,
) -> None:
    """Check devices, weights, store and writer without running anything."""
    from flows.commands.operate import doctor as command

    command(store, source, _config(settings, set_))


@app.command()
def serve(
    store: StoreOption = _STORE,
    port: Annotated[int, typer.Option(help="Port of the report site on 127.0.0.1")] = 8080,
) -> None:
    """Serve the Prefect UI and the report site of a store on this machine until interrupted."""
    from flows.commands.operate import serve as command

    command(store, port)


def _config(settings: Path | None, pairs: list[str] | None) -> Any:
    from cefm_core.config import load_config

    overrides: dict[str, Any] = {}
    for pair in pairs or []:
        name, found, value = pair.partition("=")
        if not found:
            raise ConfigurationError(f"--set {pair}: write it as stage.setting=value")
        overrides[name.strip()] = _value(pair, value.strip())
    return load_config(settings, _from_environment() | overrides)


def _value(pair: str, text: str) -> Any:
    """Read a list or nothing as JSON, e.g. ``alignment.seeds=[1,2]`` or ``embed.img_size=null``; anything else stays text."""
    if not text.startswith("[") and text != "null":
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"{pair}: the list is not JSON ({error}); write it like [1, 2]") from error


def _from_environment() -> dict[str, Any]:
    """Read settings such as ``CEFM_SET__COARSE__THRESHOLD=0.4``."""
    prefix = "CEFM_SET__"
    found = {name.removeprefix(prefix).lower().replace("__", "."): value for name, value in os.environ.items() if name.startswith(prefix)}
    return {name: _value(f"{name}={value}", value) for name, value in found.items()}


def main() -> None:
    """Run the command and turn errors made on purpose into one message and an exit code."""
    # Ending in the ordinary way on SIGTERM lets a server that this command started be stopped with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        app()
    except GateFailedError as error:
        _stop(error, 3)
    except ConfigurationError as error:
        _stop(error, 2)
    except CefmError as error:
        _stop(error, 1)
    except KeyboardInterrupt:
        _stop("interrupted; run the same command again to resume", 1)
    except Exception as error:  # a fault nobody foresaw still ends as one message
        if os.environ.get("CEFM_TRACEBACK"):
            raise
        first = (str(error).splitlines() or [""])[0][:300]
        _stop(f"failed: {type(error).__name__}: {first}; run again to resume, or set CEFM_TRACEBACK=1 to see where", 1)


def _stop(reason: object, code: int) -> None:
    print(f"cefm: {reason}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
