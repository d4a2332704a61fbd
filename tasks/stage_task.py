"""How a function of this layer becomes a Prefect task.

Prefect's own result cache stays off: it believes hits whose output is gone (see ``tasks/caching.py`` for what is believed here), and
nothing is ever pickled into a result store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Completed

from cefm_core.errors import CefmError, StoreError

P = ParamSpec("P")
R = TypeVar("R")


def stage_task(function: Callable[P, R]) -> Task[P, R]:
    """Make ``function`` a task named after it; its ``label`` argument names the task run."""
    return task(  # type: ignore[call-overload]  # the overloads lack the condition's type
        function,
        name=getattr(function, "__name__", "task"),
        task_run_name="{label}",
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=2,
        retry_delay_seconds=[2, 10],
        retry_condition_fn=_may_pass,
    )


def as_cached(value: Any, cached: bool) -> Any:
    """Return ``value`` from a task so that the UI shows the run as Cached when nothing had to be done."""
    return Completed(name="Cached", data=value) if cached else value


def _may_pass(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Retry what may pass by itself: a store that does not answer, a fault nobody foresaw; no other error raised on purpose."""
    try:
        state.result(raise_on_failure=True)
    except StoreError:
        return True
    except CefmError:
        return False
    except Exception:
        return True
    return False
