"""Every cache key of the pipeline, and when a hit is believed.

A stage's *fingerprint* covers what its outputs depend on besides their inputs: the stage's settings, the digests of its weights, the
source of its task and of every module of tasks and core that it reaches through imports (with the data files beside them), and the
versions of the libraries those modules use. Comments, docstrings and formatting do not count; neither do workers, device or batch size.

A row's or table's *key* is the fingerprint with the inputs. A hit counts only if its outputs exist with their digests.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from storage import keys
from storage.refs import canonical_json, digest_of, sha256_of
from storage.store import Store

_ROOT = Path(__file__).resolve().parent.parent
_CORE = "cefm_core"
# Settings reach the key by their values, errors by what they prevent; neither module decides a computed byte. Nor do the modules of this
# layer that move bytes without looking into them.
_OUTSIDE_KEYS = {f"{_CORE}.config", f"{_CORE}.errors", f"{_CORE}.stages"} | {
    f"tasks.{name}" for name in ("caching", "context", "llm_endpoint", "parts", "row_stage", "rows", "stage_task", "table_stage")
}
_NOT_DATA = {".py", ".pyc", ".md", ".typed", ".safetensors"}


@dataclass(frozen=True)
class Fingerprint:
    """What a stage's outputs depend on besides their inputs.

    Attributes:
        stage: Stage name.
        parts: Digest or value by what it stands for: ``settings.*``, ``weights.*``, ``code.*``, ``data.*``, ``library.*``.
    """

    stage: str
    parts: dict[str, Any]

    @cached_property
    def digest(self) -> str:
        """The digest that enters every key of the stage."""
        return digest_of({"stage": self.stage, "parts": self.parts})


def fingerprint(stage: str, settings: dict[str, Any], weights: dict[str, str], entries: tuple[str, ...]) -> Fingerprint:
    """Make a stage's fingerprint.

    Args:
        stage: Stage name; ``tasks/<stage>.py`` is part of the code that counts.
        settings: The stage's settings as plain JSON values.
        weights: Digest by name of weight file.
        entries: Core modules the stage calls; everything they import counts too.
    """
    parts: dict[str, Any] = {f"settings.{name}": value for name, value in settings.items()}
    parts |= {f"weights.{name}": value for name, value in weights.items()}
    parts |= code_parts(("tasks." + stage, *entries))
    return Fingerprint(stage, parts)


def write_down(store: Store, print_: Fingerprint) -> None:
    """Keep in the store what a fingerprint stands for, for ``cefm why``; a document that was damaged is written anew."""
    key, data = keys.fingerprint_key(print_.stage, print_.digest), canonical_json({"stage": print_.stage, "parts": print_.parts})
    if not store.put_new(key, data) and store.read(key) != data:
        store.put(key, data)


def row_key(stage_digest: str, inputs: dict[str, Any]) -> str:
    """Key of one row: the stage's fingerprint with the inputs of that row (plain JSON values)."""
    return digest_of([stage_digest, inputs])


def code_parts(entries: tuple[str, ...]) -> dict[str, str]:
    """Digest every module reachable from ``entries``, the data files beside them, and name the library versions."""
    modules, libraries = _closure(entries)
    parts = {f"code.{name}": _source_digest(path, path.stat().st_mtime_ns) for name, path in modules.items()}
    for folder in sorted({path.parent for path in modules.values() if _CORE in path.relative_to(_ROOT).parts[:1]}):
        for file in sorted(folder.rglob("*")) if folder != _ROOT / _CORE else []:
            if file.is_file() and file.suffix not in _NOT_DATA:
                parts[f"data.{file.relative_to(_ROOT).as_posix()}"] = sha256_of(file.read_bytes())
    return parts | {f"library.{name}": version for name in sorted(libraries) if (version := _version(name))}


def _closure(entries: tuple[str, ...]) -> tuple[dict[str, Path], set[str]]:
    """Follow imports, wherever in a module they stand, through tasks and core; return their modules and the libraries used."""
    found: dict[str, Path] = {}
    libraries: set[str] = set()
    queue = list(entries)
    while queue:
        name = queue.pop()
        path = _module_path(name)
        if name in found or name in _OUTSIDE_KEYS or path is None:
            continue
        found[name] = path
        imports = _imports(name, path, path.stat().st_mtime_ns)
        queue += [target for target in imports if target.split(".")[0] in (_CORE, "tasks")]
        libraries |= {target.split(".")[0] for target in imports} - sys.stdlib_module_names - {_CORE, "storage", "tasks", "flows"}
    return dict(sorted(found.items())), libraries


def _module_path(name: str) -> Path | None:
    stem = _ROOT.joinpath(*name.split("."))
    for path in (stem.with_suffix(".py"), stem / "__init__.py"):
        if path.exists():
            return path
    return None


@lru_cache(maxsize=1024)
def _imports(name: str, path: Path, _mtime_ns: int) -> tuple[str, ...]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    targets: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package.split(".")[: len(package.split(".")) - node.level + 1], *([base] if base else [])])
            targets |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return tuple(sorted(targets))


@lru_cache(maxsize=1024)
def _source_digest(path: Path, _mtime_ns: int) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_text(body[0]):
            del body[0]
    return sha256_of(ast.dump(tree).encode())


@lru_cache(maxsize=256)
def _version(library: str) -> str | None:
    names = _distributions().get(library, [])
    return metadata.version(sorted(names)[0]) if names else None


@lru_cache(maxsize=1)
def _distributions() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
