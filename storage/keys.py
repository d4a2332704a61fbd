"""What lies where below a store's root; the only module that spells a key.

objects/<kind>/<aa>/<sha256>.<suffix>   masks, overlays, figures, pages, checkpoints
tables/<table>/<sha256>.parquet         whole tables
rows/<stage>/<fingerprint>/<sha256>     finished parts of a stage: a table part and a record that commits it
gathered/<stage>/<key>.json             which whole table a stage's parts have been gathered into, by the parts
fingerprints/<stage>/<fingerprint>.json what a stage's outputs depend on besides its inputs
cache/<stage>/<key>.json                outputs of a stage that works on whole tables; answers of a language model, and its batches
work/<sha256>.json                      work lists of shards
runs/<run_id>/                          run record and report site
published/<number>.json                 versions; the highest number is the latest
decisions/<sha256>.json                 operators' decisions at gates
corrections/<number>.json               clinicians' corrections, batch by batch
"""

CORRECTIONS = "corrections"


def object_key(kind: str, sha256: str, suffix: str) -> str:
    """Key of a content-addressed object."""
    return f"objects/{kind}/{sha256[:2]}/{sha256}.{suffix}"


def table_key(table: str, sha256: str) -> str:
    """Key of a whole table."""
    return f"tables/{table}/{sha256}.parquet"


def part_folder(stage: str, fingerprint: str) -> str:
    """Folder of the finished parts of a stage."""
    return f"rows/{stage}/{fingerprint}"


def gathered_key(stage: str, key: str) -> str:
    """Key of the record of a table that was gathered from parts."""
    return f"gathered/{stage}/{key}.json"


def fingerprint_key(stage: str, fingerprint: str) -> str:
    """Key of the document behind a fingerprint."""
    return f"fingerprints/{stage}/{fingerprint}.json"


def cache_folder(stage: str) -> str:
    """Folder of the records of a whole-table stage."""
    return f"cache/{stage}"


def cache_key(stage: str, key: str) -> str:
    """Key of the record of a whole-table stage."""
    return f"{cache_folder(stage)}/{key}.json"


def work_key(sha256: str) -> str:
    """Key of a work list."""
    return f"work/{sha256}.json"


def run_key(run_id: str, name: str) -> str:
    """Key of a file of one run."""
    return f"runs/{run_id}/{name}"


def version_key(number: int) -> str:
    """Key of a published version."""
    return f"published/{number:08d}.json"


def corrections_key(number: int) -> str:
    """Key of a batch of corrections."""
    return f"{CORRECTIONS}/{number:08d}.json"


def decision_key(key: str) -> str:
    """Key of an operator's decision at a gate."""
    return f"decisions/{key}.json"
