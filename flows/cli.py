"""The ``cefm`` command: names, flags and exit codes. What a command does lies in ``flows/commands``.

Nothing heavy is imported here, so that ``cefm --help`` answers at once.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cefm_core.errors import CefmError, ConfigurationError, GateFailedError
from flows import cli_reports
from flows.cli_options import STORE, ImagesArgument, JsonOption, OutFile, RefreshOption, SetOption, SettingsOption, StoreOption, read_config
from flows.server import end_process

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Explainable melanoma analysis of dermoscopic images at data-set scale. Research software, not a medical device.",
)
app.add_typer(cli_reports.app)


@app.command()
def demo(
    store: StoreOption = STORE,
    images: Annotated[int, typer.Option(help="Number of rendered photographs")] = 200,
    settings: SettingsOption = None,
    set_: SetOption = None,
    json_: JsonOption = False,
) -> None:
    """Run the whole chain on rendered lesions with known truth."""
    from flows.commands.run import demo as command

    command(store, images, read_config(settings, set_), json_)


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
    resume_from: Annotated[
        str | None, typer.Option("--resume-from", help="Recompute this stage and all after it; reuse those before")
    ] = None,
    retry_rejects: Annotated[bool, typer.Option("--retry-rejects", help="Try rejected images once more")] = False,
    keep_model: Annotated[
        bool, typer.Option("--keep-model", help="Score new images with the latest version's model; do not train again")
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", "--dry-run", help="Only say what would run, on how many images, and why")] = False,
    json_: JsonOption = False,
) -> None:
    """Run the whole chain on a data set; what is done already is not done again."""
    from flows.commands import run as commands

    context = commands.context_of(
        source=source, metadata=metadata, duplicates=duplicates, store=store, config=read_config(settings, set_),
        refresh=tuple(refresh or ()), resume_from=resume_from, retry_rejects=retry_rejects, keep_model=keep_model,
    )  # fmt: skip
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

    command(images, out, read_config(settings, [*(set_ or []), f"refine.refiner={refiner}"]), json_)


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

    command(images, masks, out, profile, read_config(settings, set_), json_)


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

    command(images, store, out, read_config(settings, set_), json_)


def _later(stage_flow: str) -> Any:
    def command(
        store: StoreOption,
        settings: SettingsOption = None,
        set_: SetOption = None,
        refresh: RefreshOption = None,
        json_: JsonOption = False,
    ) -> None:
        from flows.commands.run import later

        later(stage_flow, store, read_config(settings, set_), tuple(refresh or ()), json_)

    return command


app.command("embed", help="Embed the images of a store's latest version and train on them.")(_later("train_alignment"))
app.command("train", help="Train projection heads and classifiers on a store's latest version.")(_later("train_alignment"))
app.command("evaluate", help="Predict and evaluate on a store's latest version.")(_later("evaluate_alignment"))
app.command("describe", help="Rank descriptors and write reports on a store's latest version.")(_later("write_reports"))


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
def show(image_id: str, store: StoreOption = STORE) -> None:
    """Print everything known about one image, with lineage; or, of a digest or key, the images and versions that rest on it."""
    from flows.commands.inspect import show as command

    command(image_id, store)


@app.command()
def diff(
    run_a: str,
    run_b: str,
    store: StoreOption = STORE,
    page: Annotated[Path | None, typer.Option("--page", help="HTML page to write; it needs no other file")] = None,
    table: Annotated[Path | None, typer.Option("--table", help="Parquet file to write, one row for each change")] = None,
    json_: JsonOption = False,
) -> None:
    """Print what changed between two runs (by id) or published versions (by number)."""
    from flows.commands.diff import diff as command

    command(run_a, run_b, store, page, table, json_)


@app.command()
def why(key: str, store: StoreOption = STORE) -> None:
    """Name the part of a stage's fingerprint that changed: KEY is a stage name or a fingerprint's digest."""
    from flows.commands.inspect import why as command

    command(key, store)


@app.command()
def doctor(
    store: StoreOption = STORE,
    source: Annotated[str | None, typer.Option("--source", help="Source images")] = None,
    settings: SettingsOption = None,
    set_: SetOption = None,
) -> None:
    """Check devices, weights, store and writer without running anything."""
    from flows.commands.operate import doctor as command

    command(store, source, read_config(settings, set_))


@app.command()
def serve(
    store: StoreOption = STORE,
    port: Annotated[int, typer.Option(help="Port of the report site on 127.0.0.1")] = 8080,
) -> None:
    """Serve the Prefect UI, where runs can be started, and the report site of a store on this machine until interrupted."""
    from flows.commands.operate import serve as command

    command(store, port)


def main() -> None:
    """Run the command and turn errors made on purpose into one message and an exit code."""
    # Ending in the ordinary way on SIGTERM lets a server that this command started be stopped with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    end_process(_run())


def _run() -> int:
    """Run the command; return its exit code."""
    try:
        app()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except GateFailedError as error:
        return _stopped(error, 3)
    except ConfigurationError as error:
        return _stopped(error, 2)
    except CefmError as error:
        return _stopped(error, 1)
    except KeyboardInterrupt:
        return _stopped("interrupted; run the same command again to resume", 1)
    except Exception as error:  # a fault nobody foresaw still ends as one message
        if os.environ.get("CEFM_TRACEBACK"):
            raise
        first = (str(error).splitlines() or [""])[0][:300]
        return _stopped(f"failed: {type(error).__name__}: {first}; run again to resume, or set CEFM_TRACEBACK=1 to see where", 1)
    return 0


def _stopped(reason: object, code: int) -> int:
    print(f"cefm: {reason}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
