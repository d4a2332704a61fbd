"""``cefm compare-writers``: the same facts through several writers, on one page and in one table."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cefm_core.config import CefmConfig
from cefm_core.errors import ConfigurationError
from flows.console import say
from storage.refs import sha256_of
from storage.store import Store
from storage.versions import latest_number, new_run_id, read_outputs

if TYPE_CHECKING:
    from cefm_core.reports.facts import Facts
    from cefm_core.reports.writer_score import WriterScore

_TEMPLATE = "template"


@dataclass(frozen=True)
class Request:
    """What is to be compared.

    Attributes:
        writers: ``template``, or ``MODEL@URL``, or ``MODEL@URL@VARIABLE`` with the variable that holds the key.
        images: How many ledgers each writer gets.
        selections: Keys of ``selections.SELECTIONS``.
        invented: Take invented ledgers instead of the store's.
        prices: ``MODEL=IN,OUT`` per million tokens.
        out: Folder for ``writers.html`` and ``writers.csv``.
        bert_score: Folder of a language model for BERTScore, or None.
    """

    writers: tuple[str, ...]
    images: int
    selections: tuple[str, ...]
    invented: bool
    prices: tuple[str, ...]
    out: Path
    bert_score: Path | None = None


def compare_writers(store: str, request: Request, config: CefmConfig, as_json: bool) -> None:
    """Let every writer write on every selection of the same ledgers, and write page and table.

    Raises:
        ConfigurationError: A writer, price or selection is not understood, or a key is missing.
    """
    from cefm_core.reports.bert_score import BertScorer
    from cefm_core.reports.compare_view import Comparison, comparison_csv, comparison_view
    from cefm_core.reports.pages import comparison_page
    from cefm_core.reports.selections import SELECTIONS
    from cefm_core.reports.writer_score import score_writer
    from tasks.writer_trials import try_writer

    unknown = [name for name in request.selections if name not in SELECTIONS]
    if unknown:
        raise ConfigurationError(f"--given {unknown[0]}: give {', '.join(SELECTIONS)}")
    writers = {spec.split("@")[0]: _settings(spec, config) for spec in request.writers}
    prices = dict(_price(text) for text in request.prices)
    bert = BertScorer.load(request.bert_score) if request.bert_score else None
    opened = Store.open(store)
    ledgers = _ledgers(opened, request)
    scores, trials, run_id = [], [], new_run_id()
    for name, settings in writers.items():
        for selection in request.selections:
            say(f"{name}, {selection}: {len(ledgers)} ledgers")
            trials.append(tuple(try_writer(opened, settings, f"{run_id}-{name}", ledgers, selection)))
            scores.append(score_writer(name, selection, trials[-1], prices.get(name), bert))
    source = "invented ledgers" if request.invented else f"version {latest_number(opened)} of the store"
    comparison = Comparison(tuple(scores), tuple(trials), source)
    request.out.mkdir(parents=True, exist_ok=True)
    (request.out / "writers.html").write_text(comparison_page(comparison_view(comparison)), encoding="utf-8")
    (request.out / "writers.csv").write_text(comparison_csv(comparison), encoding="utf-8")
    say(f"page: {(request.out / 'writers.html').resolve().as_uri()}")
    for score in scores:
        say(_line(score))
    if as_json:
        print(json.dumps([asdict(score) for score in scores]))


def _line(score: WriterScore) -> str:
    exact = f"claims supported {score.supported.text(1, 100)} %, numbers exact {score.numbers_exact.text(1, 100)} %"
    rest = f"contradictions {score.contradictions.text(1)} per 100 reports, publishable {score.publishable.text(1, 100)} %"
    return f"{score.writer}, {score.selection}: {exact}, {rest}"


def _settings(spec: str, config: CefmConfig) -> CefmConfig:
    """Return the settings of a writer given as ``template``, ``MODEL@URL`` or ``MODEL@URL@VARIABLE``."""
    if spec == _TEMPLATE:
        return config.model_copy(update={"reports": config.reports.model_copy(update={"writer": _TEMPLATE})})
    model, found, place = spec.partition("@")
    url, _, variable = place.partition("@")
    if not model or not found or not url.startswith(("http://", "https://")):
        raise ConfigurationError(f"--writer {spec}: write it as template, MODEL@URL or MODEL@URL@VARIABLE")
    if variable and not os.environ.get(variable):
        raise ConfigurationError(f"--writer {model}: the environment variable {variable} holds no key; set it")
    settings = {"writer": "openai", "llm_model": model, "base_url": url} | ({"api_key_env": variable} if variable else {})
    return config.model_copy(update={"reports": config.reports.model_copy(update=settings)})


def _price(text: str) -> tuple[str, tuple[float, float]]:
    name, _, numbers = text.rpartition("=")
    try:
        asked, answered = (float(number) for number in numbers.split(","))
    except ValueError as error:
        raise ConfigurationError(f"--price {text}: write it as MODEL=IN,OUT, prices of a million tokens") from error
    return name, (asked, answered)


def _ledgers(store: Store, request: Request) -> list[Facts]:
    """Return the ledgers to write on: invented ones, or a sample of the store's that does not depend on the images' order."""
    if request.invented:
        from cefm_core.reports.sample_facts import sample_facts

        return [sample_facts(seed) for seed in range(request.images)]
    from storage.parquet import read_arrow
    from tasks.ledgers import read_ledgers

    outputs = read_outputs(store)
    if "reports" not in outputs:
        raise ConfigurationError(f"store {store.uri}: no reports in the latest version; run the chain first, or take --invented")
    names = read_arrow(store, outputs["reports"])["image_id"].to_pylist()
    chosen = sorted(names, key=lambda name: sha256_of(name.encode()))[: request.images]
    return [ledger.facts for ledger in read_ledgers(store, outputs, chosen).values()]
