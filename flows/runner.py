"""Where the shards of a flow run: threads of its process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefect import Flow
from prefect.task_runners import ThreadPoolTaskRunner

from tasks.context import RunContext


def sized(flow: Flow[..., Any], context: RunContext) -> Callable[..., Any]:
    """Return ``flow`` with as many workers as the run's settings name; one shard keeps about one core busy."""
    runner: Any = ThreadPoolTaskRunner(max_workers=context.config.runtime.workers)
    return flow.with_options(task_runner=runner)
