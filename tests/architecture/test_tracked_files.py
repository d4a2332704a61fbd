"""What must not be in the repository: one machine's paths, hosts of package indexes, keys, compiled files, pickles."""

import ast
import hashlib
import re

import pytest

from tests.architecture.sources import ROOT, imported, modules, tracked_files

# First 12 digits of SHA-256, so that this file does not hold what it forbids: names of writing assistants and of their parts.
FORBIDDEN_WORDS = {"c857d09db23e", "c70eca6b0f88", "60965168ce76", "3ea125d0bff3", "94a168d2da57"}
PATTERNS = {
    "a path of one machine": r"(?<![\w.:/}])/(work|home/\w+|Users/\w+|root)/|(?<![\w.:/}])/tm" + r"p/|\b[A-Z]:\\Users\\",
    "a host of a package index": r"https?://[^\s/\"']*(pypi|pythonhosted|artifactory|jfrog|devpi|nexus)[^\s]*|index[-_]url",
    "a private key": "-----BEGIN [A-Z ]*PRIVATE " + "KEY-----",
    "an access key": r"\bAKIA[0-9A-Z]{16}\b|\bsk-[A-Za-z0-9_-]{20,}|\bgh[pousr]_[A-Za-z0-9]{30,}",
    "a number of a task list": r"(?i)\bissues? #?\d+\b|(?<!&)(?<![\w\"'(#])#\d{1,4}\b(?![\w;])",
    "a merge that was not finished": r"(?m)^(<{7}|>{7}) ",
}
FORBIDDEN_ENDINGS = (
    ".pkl",
    ".pickle",
    ".pt",
    ".pth",
    ".ckpt",
    ".pyc",
    ".ipynb",
    ".parquet",
    ".db",
    ".sqlite",
    ".log",
    ".swp",
    "uv.lock",
    ".DS_Store",
    ".env",
)


def texts():
    for path in tracked_files():
        data = path.read_bytes()
        if b"\0" not in data[:8192]:
            yield path.relative_to(ROOT).as_posix(), data.decode("utf-8")


@pytest.mark.parametrize("kind", PATTERNS)
def test_no_text_holds(kind):
    pattern = re.compile(PATTERNS[kind])
    found = [
        f"{name}: {match.group()[:60]}"
        for name, text in texts()
        if name != "tests/architecture/test_tracked_files.py"
        for match in pattern.finditer(text)
    ]
    assert found == []


def test_the_patterns_find_what_they_are_for():
    examples = {
        "a path of one machine": ["open('/" + "work/x')", "/" + "home/anna/data"],
        "a host of a package index": ["https://" + "pypi.org/simple", "--index" + "-url"],
        "a private key": ["-----BEGIN RSA PRIVATE " + "KEY-----"],
        "an access key": ["AKIA" + "A" * 16],
        "a number of a task list": ["see issue " + "12", "closes #" + "7"],
        "a merge that was not finished": ["<" * 7 + " HEAD"],
    }
    for kind, lines in examples.items():
        assert all(re.search(PATTERNS[kind], line) for line in lines), kind


def test_no_text_names_a_writing_assistant():
    digest = {}
    found = []
    for name, text in texts():
        for word in set(re.findall(r"[a-z]{5,}", text.lower())):
            if word not in digest:
                digest[word] = hashlib.sha256(word.encode()).hexdigest()[:12]
            if digest[word] in FORBIDDEN_WORDS:
                found.append(f"{name}: {word}")
    assert found == []


def test_no_made_or_unsafe_file_is_tracked():
    names = [path.relative_to(ROOT).as_posix() for path in tracked_files()]
    assert [name for name in names if name.endswith(FORBIDDEN_ENDINGS) or "__pycache__" in name] == []


def test_tests_have_no_init_files():
    assert [path for path in tracked_files() if path.name == "__init__.py" and path.relative_to(ROOT).parts[0] == "tests"] == []


@pytest.mark.parametrize("package", ["cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"])
def test_nothing_that_can_run_code_is_read_as_data(package):
    assert [name for name, tree in modules().items() if package in imported(tree)] == []


def test_of_pickle_only_its_error_is_used():
    used = [
        f"{name}:{node.lineno}: {node.attr}"
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pickle"
    ]
    assert [entry for entry in used if not entry.endswith("UnpicklingError")] == []
    assert [
        name for name, tree in modules().items() for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "pickle"
    ] == []


def test_torch_load_reads_weights_only():
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load":
                owner = node.func.value
                if isinstance(owner, ast.Name) and owner.id == "torch":
                    safe = [
                        k for k in node.keywords if k.arg == "weights_only" and isinstance(k.value, ast.Constant) and k.value.value is True
                    ]
                    assert safe, f"{name}:{node.lineno}"
