"""What every task of a run is told: where things lie and how the run is set. Small, plain, and without a secret."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from cefm_core.config import CefmConfig
from cefm_core.stages import STAGES
from storage.backends import normalise_uri
from storage.source import Source
from storage.store import Store
from storage.versions import new_run_id

T = TypeVar("T")
_STAGES = [stage.name for stage in STAGES]
Uri = Annotated[str, AfterValidator(normalise_uri)]
_local = threading.local()
_shared: dict[str, tuple[str, Any]] = {}
_shared_lock = threading.Lock()


def _as_tuple(value: Any) -> Any:
    """Take one table as a list of one, and none as an empty list."""
    return () if value in (None, "") else (value,) if isinstance(value, str) else value


def _known(stage: str) -> str:
    if stage not in _STAGES:
        raise ValueError(f"no such stage; the stages are {', '.join(_STAGES)}")
    return stage


# A form's and the server's parameters stay small: images are named by tables, never one by one.
_FewUris = Field(max_length=100)
Tables = Annotated[
    tuple[Uri, ...], _FewUris, BeforeValidator(_as_tuple, json_schema_input_type=str | Annotated[list[str], _FewUris] | None)
]
StageName = Annotated[str, AfterValidator(_known), WithJsonSchema({"type": "string", "enum": _STAGES})]


class RunContext(BaseModel):
    """The run a task belongs to; also the one parameter of every flow."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: Uri = Field(description="Store: a folder, or s3://, gs://, az://")
    source: Uri = Field(description="Source images: a folder, or an object-store prefix")
    metadata: Tables = Field(
        (), description="Source metadata, CSV or Parquet, paths or objects' URIs; up to 100 tables of the same images are joined"
    )
    duplicates: Uri | None = Field(None, description="Curated list of duplicate images, CSV with two columns of names")
    config: CefmConfig = Field(CefmConfig(), description="All settings")
    refresh: tuple[StageName, ...] = Field((), description="Stages that compute everything anew, whatever is there")
    resume_from: StageName | None = Field(None, description="This stage and all after it compute everything anew; those before are reused")
    retry_rejects: bool = Field(False, description="Images that were rejected are tried once more; finished ones are reused")
    keep_model: bool = Field(
        False,
        description="The latest version's model scores new images and is not trained again, unless settings or code changed",
    )
    run_id: str = Field(default_factory=new_run_id, description="Identifier of the run")

    @property
    def title(self) -> str:
        """What run this is, for people: the source's name and the run's identifier."""
        return f"{self.source.rsplit('/', 1)[-1]} {self.run_id}"

    def computes_anew(self, stage: str) -> bool:
        """Whether a stage is to compute everything anew in this run."""
        later = self.resume_from in _STAGES and stage in _STAGES[_STAGES.index(self.resume_from) :]
        return later or stage in self.refresh

    def open_store(self) -> Store:
        """Open the run's store."""
        return Store.open(self.store)

    def open_source(self) -> Source:
        """Open the run's source."""
        return Source(self.source)

    def device(self) -> str:
        """Return the torch device of this run; imports torch."""
        from cefm_core.device import resolve_device

        return resolve_device(self.config.runtime.device)


def once_per_thread(key: str, make: Callable[[], T]) -> T:
    """Return what ``make`` made for this key in this thread; models hold state, so threads do not share them.

    One thing is kept per thread and per kind (the part of ``key`` before the first ``:``), so memory does not grow over runs.
    """
    held: dict[str, tuple[str, Any]] = _local.__dict__.setdefault("held", {})
    kind = key.split(":", 1)[0]
    if kind not in held or held[kind][0] != key:
        held[kind] = (key, make())
    return held[kind][1]


def once_per_process(key: str, make: Callable[[], T]) -> T:
    """Return what ``make`` made for this key in this process, for all threads: for what none of them changes. Kinds as above."""
    kind = key.split(":", 1)[0]
    with _shared_lock:
        if kind not in _shared or _shared[kind][0] != key:
            _shared[kind] = (key, make())
        return _shared[kind][1]  # type: ignore[no-any-return]
