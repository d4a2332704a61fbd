"""Where shards run decides no byte: threads, Dask workers of one's own, Dask workers at an address."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

from cefm_core.config import RuntimeConfig
from cefm_core.errors import ConfigurationError
from flows import runner
from flows.prepare_dataset import prepare_dataset
from tasks.context import RunContext
from tests.flows.services import ROOT, clean_environment, free_port, kill_tree

pytestmark = pytest.mark.flow
needs_dask = pytest.mark.skipif(find_spec("prefect_dask") is None, reason="prefect-dask is not installed")


@pytest.fixture(scope="module")
def prepared(prefect, tmp_path_factory):
    """Outputs of the same small run under given settings of the runtime."""
    from cefm_core.phantoms.dataset import write_phantom_dataset

    source = tmp_path_factory.mktemp("source")
    write_phantom_dataset(source, 12, 5, size=(120, 160))

    def run(**runtime):
        config = {"refine": {"refiner": "none"}, "runtime": {"shard_size": 4, **runtime}}
        store = str(tmp_path_factory.mktemp("store"))
        context = RunContext(store=store, source=str(source), metadata=str(source / "metadata.csv"), config=config)
        return prepare_dataset(context).outputs

    return run


@pytest.fixture(scope="module")
def by_threads(prepared):
    return prepared(workers=1)


@contextmanager
def scheduler(workers: int):
    """A Dask scheduler in a process of its own, with workers in another; yields its address and the workers' process."""
    address = f"tcp://127.0.0.1:{free_port()}"
    python = [sys.executable, "-m", "dask"]
    place = {"cwd": ROOT, "env": clean_environment(PYTHONPATH=str(ROOT)), "stderr": subprocess.DEVNULL}
    port = address.rpartition(":")[2]
    process = subprocess.Popen([*python, "scheduler", "--host", "127.0.0.1", "--port", port, "--no-dashboard"], **place)
    started = [process]
    try:
        if workers:
            options = ["--nworkers", str(workers), "--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard"]
            started.append(subprocess.Popen([*python, "worker", address, *options], **place))
        yield address
    finally:
        for process in reversed(started):
            kill_tree(process.pid)
            process.wait(30)


@needs_dask
@pytest.mark.parametrize("workers", [1, 2])
def test_dask_on_this_machine_writes_what_threads_write(prepared, by_threads, workers):
    assert prepared(dask="local", workers=workers) == by_threads


@needs_dask
def test_dask_at_an_address_writes_what_threads_write(prepared, by_threads):
    with scheduler(workers=2) as address:
        wait_for_workers(address, 2)
        assert prepared(dask=address) == by_threads


@needs_dask
def test_a_dask_worker_that_is_killed_costs_nothing(prepared, by_threads):
    runner._cluster(2)
    killed = threading.Timer(2.5, lambda: os.kill(next(iter(runner._cluster(2).workers.values())).pid, 9))
    killed.start()
    assert prepared(dask="local", workers=2) == by_threads
    killed.join()


@needs_dask
def test_dask_on_this_machine_listens_on_this_machine_alone():
    import psutil

    workers = [worker.pid for worker in runner._cluster(2).workers.values()]
    listening = [
        connection.laddr.ip
        for process in map(psutil.Process, [os.getpid(), *workers])
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert len(listening) > len(workers) and set(listening) == {"127.0.0.1"}


@needs_dask
def test_an_address_without_scheduler_or_without_workers_is_named():
    nowhere = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(ConfigurationError, match=f"runtime.dask = {nowhere}: no scheduler answers"):
        runner.check_runner(RuntimeConfig(dask=nowhere))
    with scheduler(workers=0) as address, pytest.raises(ConfigurationError, match="the scheduler has no worker"):
        runner.check_runner(RuntimeConfig(dask=address))


def test_dask_that_is_not_installed_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setattr(runner, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"runtime.dask = local: .*pip install 'cefm\[dask\]'"):
        runner.check_runner(RuntimeConfig(dask="local"))


def test_no_more_shards_are_in_flight_than_there_are_workers(prefect):
    from prefect import flow, task

    inside, most, lock = 0, 0, threading.Lock()

    @task
    def shard(number):
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.1)
        with lock:
            inside -= 1
        return number

    @flow
    def stage():
        with runner.shard_runner(RuntimeConfig(workers=2)) as shards:
            futures = [shards.submit(shard, {"number": number}) for number in range(6)]
            return [future.result() for future in futures]

    assert stage() == list(range(6))
    assert most == 2


def wait_for_workers(address, count):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if runner.check_runner(RuntimeConfig(dask=address)).startswith(f"{count} "):
                return
        except ConfigurationError:
            time.sleep(0.5)
    raise TimeoutError(f"no {count} workers at {address}")
