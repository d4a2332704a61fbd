"""A server with a batch interface, and runs that ask it one after the other: what the tests of the batch interface share."""

from storage import keys
from tasks.llm_batch import ask_in_batch
from tasks.llm_batch_records import under_way
from tasks.llm_endpoint import endpoint_of
from tests.tasks.llm_servers import BatchServer
from tests.tasks.test_write_reports import INJECTION, Bench, oracle_of

SECRET = "sk-very-secret"


class World:
    """Images, a server that knows the right reports of them, and runs one after the other."""

    def __init__(self, folder, count=4):
        self.oracle = self.script = None
        self.server = BatchServer(lambda body, number: (self.script or self.oracle)(body, number))
        self.folder = folder
        self.bench = self.settle()
        self.items = [self.bench.item(number, site=INJECTION) for number in range(count)]
        self.oracle = oracle_of(self.items)
        self.runs = 0

    def settle(self, wait_s=20, **reports):
        runtime = {"llm_batch_poll_s": 0.02, "llm_batch_wait_s": wait_s}
        self.bench = Bench(self.folder, self.server.url, reports={"batch": True, **reports}, **runtime)
        return self.bench

    def ask(self, items=None):
        """Run the task as a new run."""
        items = self.items if items is None else items
        self.runs += 1
        self.bench.context = self.bench.context.model_copy(update={"run_id": f"{self.folder}-{self.runs}"})
        shards = [self.bench.store.put_work(part) for part in (items[:2], items[2:]) if part]
        return ask_in_batch.fn(self.bench.context, shards)

    def rows(self):
        return self.bench.run(self.items)

    @property
    def tokens(self):
        return endpoint_of(self.bench.context.run_id, self.bench.context.config).tokens

    @property
    def stored(self):
        return len(self.bench.store.keys_below(keys.cache_folder("llm")))

    @property
    def under_way(self):
        return under_way(self.bench.store, self.server.url)


def counts(summary):
    return tuple(summary.model_dump().values())


def published(world):
    assert [row["status"] for row in world.rows()] == ["published"] * len(world.items)
    return len(world.server.requests)
