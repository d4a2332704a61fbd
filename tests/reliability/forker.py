"""Runs commands of one copy of the code, each in a process forked from one that has imported everything already.

Started as ``python forker.py`` with that copy first on the path; reads one request a line, answers with one exit code a line. Imports
cost several times what a small run costs; nothing else of a run is shared.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import traceback

# What a run imports on its way; each is there only to be in memory before the fork.
_PRELOADED = (
    "prefect", "prefect.task_runners", "prefect.artifacts", "torch", "pandas", "pyarrow.parquet", "great_expectations", "timm",
    "sklearn.linear_model", "matplotlib.pyplot", "cv2", "scipy.ndimage", "flows.cli", "flows.full_run", "flows.commands.run",
    "storage.store",
)  # fmt: skip


def main() -> None:
    """Answer requests until standard input ends."""
    for name in _PRELOADED:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _run(request)
        print(json.dumps({"pid": child}), flush=True)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)


def _run(request: dict) -> None:
    """Be the command; never returns."""
    from flows import cli

    code = 1
    try:
        for number, path in enumerate((os.devnull, request["stdout"], request["stderr"])):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), number)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.environ.update(request["environment"])
        os.chdir(request["cwd"])
        sys.argv = ["cefm", *request["arguments"]]
        cli.main()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
