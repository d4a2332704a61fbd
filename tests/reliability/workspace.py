"""A small data set, a store and, where it is needed, a copy of the code: what the fault commands damage and change."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from storage.refs import sha256_of
from tests.flows.services import ROOT, prefect_environment

SETTINGS: dict[str, str] = {
    "coarse.second": "none",
    "refine.refiner": "none",
    "alignment.seeds": "[1]",
    "alignment.epochs": "2",
    "alignment.classifier_epochs": "2",
    "evaluation.bootstrap_samples": "100",
    "runtime.shard_size": "16",
}
_PACKAGES = ("cefm_core", "storage", "tasks", "flows")


@dataclass(frozen=True)
class Workspace:
    """Where a run finds its source, its store, its settings and its code.

    Attributes:
        folder: Holds ``source/`` and ``store/``.
        settings: Settings by dotted name.
        environment: Further variables of the command.
        store_uri: A store elsewhere, or "" for ``store/``.
        code: Folder of the code that runs.
    """

    folder: Path
    settings: dict[str, str] = field(default_factory=lambda: dict(SETTINGS))
    environment: dict[str, str] = field(default_factory=dict)
    store_uri: str = ""
    code: Path = ROOT

    @property
    def source(self) -> Path:
        """Folder of the source images and their metadata."""
        return self.folder / "source"

    @property
    def store(self) -> Path:
        """Folder of the local store."""
        return self.folder / "store"

    def with_own_code(self) -> Workspace:
        """Return the same place with its own copy of the code, to change, or to be safe from changes."""
        for package in _PACKAGES:
            shutil.copytree(self.code / package, self.folder / "code" / package, ignore=shutil.ignore_patterns("__pycache__"))
        return replace(self, code=self.folder / "code")

    def with_settings(self, **changed: str) -> Workspace:
        """Return the same place with settings changed; ``__`` stands for the dot."""
        return replace(self, settings=self.settings | {name.replace("__", "."): value for name, value in changed.items()})

    def arguments(self) -> list[str]:
        """Arguments of ``cefm`` for a run."""
        pairs = [part for name, value in self.settings.items() for part in ("--set", f"{name}={value}")]
        store = self.store_uri or str(self.store)
        places = ["--source", str(self.source), "--metadata", str(self.source / "metadata.csv"), "--store", store]
        return ["run", *places, *pairs, "--json"]

    def variables(self) -> dict[str, str]:
        """Environment of a run."""
        return prefect_environment() | {"PYTHONPATH": str(self.code)} | self.environment


def make_source(folder: Path, images: int, seed: int, size: tuple[int, int] = (192, 256)) -> None:
    """Render the data set of a workspace."""
    from cefm_core.phantoms.dataset import write_phantom_dataset

    write_phantom_dataset(folder / "source", images, seed, size=size)


def copied(base: Workspace, folder: Path) -> Workspace:
    """Return a workspace with copies of another's source and store, times of modification kept."""
    shutil.copytree(base.source, folder / "source")
    if base.store.exists():
        shutil.copytree(base.store, folder / "store")
    return replace(base, folder=folder)


@dataclass(frozen=True)
class Ran:
    """What a run said.

    Attributes:
        code: Exit code.
        summary: The object printed by ``--json``, or {}.
        said: Standard error.
    """

    code: int
    summary: dict[str, Any]
    said: str

    @property
    def worked(self) -> dict[str, int]:
        """Items each stage really worked on."""
        return {stage["name"]: stage["in"] - stage["reused"] for stage in self.summary.get("stages", [])}

    @property
    def outputs(self) -> dict[str, str]:
        """Digest by output name."""
        return {name: ref["sha256"] for name, ref in self.summary.get("outputs", {}).items()}


def run(place: Workspace) -> Ran:
    """Run ``cefm run`` on a workspace, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="cefm-run-") as folder:
        printed, said = Path(folder) / "stdout", Path(folder) / "stderr"
        with started(place, printed, said) as (forker, _):
            code = forker.wait()
        return Ran(code, summary_of(printed.read_text()), said.read_text())


@contextmanager
def started(place: Workspace, printed: Path | str = os.devnull, said: Path | str = os.devnull) -> Iterator[tuple[Forker, int]]:
    """Start ``cefm run`` on a workspace; yield who waits for it, and its process id."""
    forker = _forker(place.code, tuple(sorted(place.environment.items())))
    request = {
        "arguments": place.arguments(),
        "environment": place.variables(),
        "cwd": str(place.code),
        "stdout": str(printed),
        "stderr": str(said),
    }
    yield forker, forker.start(request)


class Forker:
    """A process that has imported one copy of the code, under one environment, and runs commands of it."""

    def __init__(self, place_code: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forker.py"))],
            env=environment,
            cwd=place_code,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(self._process.terminate)

    def start(self, request: dict[str, Any]) -> int:
        """Start a command and return its process id."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return int(json.loads(self._process.stdout.readline())["pid"])

    def wait(self) -> int:
        """Return the exit code of the command that was started, or minus the signal that ended it."""
        assert self._process.stdout is not None
        return int(json.loads(self._process.stdout.readline())["code"])

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait(30)


# The first forker serves most runs; one more, for a copy of the code that was changed, is enough.
_forkers: dict[tuple[Path, tuple[tuple[str, str], ...]], Forker] = {}


def _forker(code: Path, environment: tuple[tuple[str, str], ...]) -> Forker:
    key = (code, environment)
    if key not in _forkers:
        for old in list(_forkers)[1:]:
            _forkers.pop(old).close()
        _forkers[key] = Forker(code, prefect_environment() | {"PYTHONPATH": str(code)} | dict(environment))
    return _forkers[key]


def summary_of(printed: str) -> dict[str, Any]:
    """Return the JSON object that a finished run printed last, or {}."""
    try:
        return json.loads(printed.splitlines()[-1])
    except (ValueError, IndexError):
        return {}


def contents(store: Path) -> dict[str, str]:
    """Return the digest of every file of a store by its key, without what belongs to a single run."""
    files = (path for path in store.rglob("*") if path.is_file())
    found = {path.relative_to(store).as_posix(): sha256_of(path.read_bytes()) for path in files}
    return {key: digest for key, digest in found.items() if not key.startswith(("runs/", "index.html"))}


def broken_names(found: dict[str, str]) -> list[str]:
    """Return the keys whose name promises other bytes than those that are there."""
    promised = {key: Path(key).stem for key in found if key.startswith(("objects/", "tables/"))}
    return [key for key, digest in promised.items() if found[key] != digest]
