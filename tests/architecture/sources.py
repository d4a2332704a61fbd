"""What the architecture tests look at: the project's files and the syntax trees of its code."""

import ast
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("cefm_core", "storage", "tasks", "flows")


@cache
def tracked_files() -> tuple[Path, ...]:
    """Files that git tracks, or, outside a checkout, every file but hidden ones and what running made."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, check=False)
    if listed.returncode == 0 and listed.stdout:
        names = listed.stdout.decode().split("\0")
        return tuple(path for name in names if name and (path := ROOT / name).is_file())
    made = {"build", "dist", "demo-store", "__pycache__", "cefm.egg-info"}
    return tuple(
        path
        for path in sorted(ROOT.rglob("*"))
        if path.is_file() and not any(part in made or part.startswith(".") for part in path.relative_to(ROOT).parts)
    )


@cache
def modules() -> dict[str, ast.Module]:
    """Syntax tree of every module of the four layers, by its path relative to the root."""
    files = [path for layer in LAYERS for path in sorted((ROOT / layer).rglob("*.py"))]
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in files}


def imported(tree: ast.AST) -> set[str]:
    """Top-level names of everything that a tree imports."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found
