"""Where the shards of a stage run: threads of the run's process, or the workers of a Dask cluster.

Prefect is imported inside functions: the look before a run comes before its settings are made.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import Any

from cefm_core.config import RuntimeConfig
from cefm_core.errors import ConfigurationError

# The value of `runtime.dask` that asks for a cluster of one's own.
_HERE = "local"


@contextmanager
def shard_runner(runtime: RuntimeConfig) -> Iterator[Any]:
    """Yield a started task runner for the shards of a stage; those that wait are dropped when the stage fails or is cancelled.

    It stands beside the flow's own runner, so that ``runtime.workers`` bounds the shards in flight however the flow was started.

    Raises:
        ConfigurationError: Dask is asked for and not installed, or its scheduler does not answer.
    """
    from prefect.task_runners import ThreadPoolTaskRunner

    with _dask(runtime) if runtime.dask else ThreadPoolTaskRunner(max_workers=runtime.workers) as runner:
        yield runner


def check_runner(runtime: RuntimeConfig) -> str:
    """Look whether the shards of a run will find workers.

    Returns:
        Where they will run, in words.

    Raises:
        ConfigurationError: Dask is asked for and not installed, or its scheduler does not answer.
    """
    if not runtime.dask:
        return f"{runtime.workers} threads"
    _needs_dask(runtime.dask)
    if runtime.dask == _HERE:
        return f"{runtime.workers} Dask workers on this machine"
    workers = _workers_at(runtime.dask)
    if not workers:
        raise ConfigurationError(f"runtime.dask = {runtime.dask}: the scheduler has no worker; start `dask worker`")
    return f"{workers} Dask workers at {runtime.dask}"


def _workers_at(address: str) -> int:
    from distributed import Client

    try:
        with Client(address, timeout="5s", set_as_default=False) as client:
            return len(client.scheduler_info(n_workers=-1)["workers"])
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"runtime.dask = {address}: no scheduler answers ({error}); start one with `dask scheduler`, or correct the address"
        ) from error


def _dask(runtime: RuntimeConfig) -> Any:
    check_runner(runtime)
    from prefect_dask import DaskTaskRunner

    return DaskTaskRunner(cluster=_cluster(runtime.workers)) if runtime.dask == _HERE else DaskTaskRunner(address=runtime.dask)


@cache
def _cluster(workers: int) -> Any:
    """Start workers on this machine, once a process: each imports torch, which costs more than many a stage.

    They end with the process. Scheduler and workers listen on this machine alone, and only to who holds the certificate made here.
    """
    from distributed import LocalCluster

    # It tells of its end after the process has closed what it would write to.
    logging.getLogger("distributed").setLevel(logging.WARNING)
    here = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "scheduler_kwargs": {"dashboard": False}, "security": True}
    return LocalCluster(n_workers=workers, threads_per_worker=1, **here)


def _needs_dask(asked: str) -> None:
    if find_spec("prefect_dask") is None:
        raise ConfigurationError(f"runtime.dask = {asked}: prefect-dask is not installed; do `pip install 'cefm[dask]'`")
