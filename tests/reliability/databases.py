"""Four runs at once on one Prefect server with PostgreSQL; in every second round the database is killed under them and started again.

Nobody touches the runs. All of them must finish, and their stores must hold the same bytes.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.flows.services import PostgresServer, start_prefect
from tests.reliability.page import Finding, main, progress, table
from tests.reliability.workspace import Workspace, contents, make_source

AT_ONCE = 4
_IMAGES = 12
_AWAY_S = (1.0, 4.0)
_PATIENCE_S = 900


def find(seed: int, count: int) -> Finding:
    """Do ``count`` rounds; the database is killed in every second one."""
    rng = random.Random(seed)
    database = PostgresServer()
    database.start()
    try:
        environment = start_prefect(PREFECT_API_DATABASE_CONNECTION_URL=database.url)
        with tempfile.TemporaryDirectory(prefix="cefm-databases-") as folder:
            make_source(Path(folder), _IMAGES, seed)
            rounds = [_round(Path(folder) / str(number), environment, database, rng, kill=number % 2 == 1) for number in range(count)]
    finally:
        database.end()
    return _finding(rounds)


class _Round:
    """What came of the runs of a round: exit codes, the ends of what they said, seconds, and how many stores differ from the first."""

    def __init__(self, killed: bool, codes: list[int], said: list[str], seconds: float, different: int) -> None:
        self.killed, self.codes, self.said, self.seconds, self.different = killed, codes, said, seconds, different


def _round(folder: Path, environment: dict[str, str], database: PostgresServer, rng: random.Random, *, kill: bool) -> _Round:
    folder.mkdir()
    places = [Workspace(folder.parent, store_uri=str(folder / f"store-{number}")) for number in range(AT_ONCE)]
    start = time.monotonic()
    logs = [folder / f"{number}.log" for number in range(AT_ONCE)]
    runs = [_start(place, environment, log) for place, log in zip(places, logs, strict=True)]
    if kill:
        time.sleep(rng.uniform(10, 40))
        database.kill()
        time.sleep(rng.uniform(*_AWAY_S))
        database.start()
    codes = [run.wait(_PATIENCE_S) for run in runs]
    seconds = time.monotonic() - start
    stores = [_compared(Path(place.store_uri)) for place in places]
    said = [log.read_text()[-600:] for log in logs]
    progress(f"{'database killed' if kill else 'undisturbed'}: exit codes {codes}, {seconds:.0f} s")
    return _Round(kill, codes, said, seconds, sum(store != stores[0] for store in stores))


def _compared(store: Path) -> dict[str, str]:
    """Return what must be the same in every store; run, version and time stand elsewhere."""
    return {key: digest for key, digest in contents(store).items() if key.startswith(("objects/", "tables/", "cache/", "fingerprints/"))}


def _start(place: Workspace, environment: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).with_name("cefm")), *place.arguments()]
    with log.open("wb") as sink:
        return subprocess.Popen(command, env=environment, cwd=place.code, stdout=subprocess.DEVNULL, stderr=sink)


def _finding(rounds: list[_Round]) -> Finding:
    rows: list[list[object]] = []
    for killed, title in ((False, "undisturbed"), (True, "database killed (SIGKILL), back after 1 to 4 s")):
        some = [each for each in rounds if each.killed == killed]
        if some:
            finished = sum(code == 0 for each in some for code in each.codes)
            longest = max(each.seconds for each in some)
            rows.append([title, AT_ONCE * len(some), finished, sum(each.different for each in some), f"{longest:.0f} s"])
    lines = [
        f"{AT_ONCE} runs at once over all ten stages, {_IMAGES} images each, one Prefect server on PostgreSQL, nobody touching anything.",
        "",
        *table(["rounds", "runs", "finished", "stores that differ", "longest round"], rows),
    ]
    failures = [
        f"a run ended with {code}: {text.strip().splitlines()[-1] if text.strip() else 'nothing said'}"
        for each in rounds
        for code, text in zip(each.codes, each.said, strict=True)
        if code
    ]
    failures += [f"{each.different} stores differ" for each in rounds if each.different and not any(each.codes)]
    return Finding("Several runs at once, and a database that goes away", lines, failures)


if __name__ == "__main__":
    main("databases", find, 6)
