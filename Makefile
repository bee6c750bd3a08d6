# Everything a fresh machine needs: `make demo` and `make test` set up a virtual environment of their own.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# For `make fuzz`: how long, and a number that makes its cases the same each time.
SECONDS ?= 60
SEED ?= $(shell date +%s)

# Processes that the tests start would compile the package again each time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-all snapshots test-trackers fuzz fuzz-kills fuzz-databases lint docs check-docs docs-site pictures package benchmarks clean

$(READY): setup.cfg constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test,tensorboard,postgresql]"
	touch $(READY)

demo: $(READY)
	$(BIN)/python examples/tictactoe/demo.py

# The quick tests are all that are not marked slow; `test-all` runs the others after them.
test: $(READY)
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m "not slow"

test-all: test
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m slow --durations 40

# What the terminal shows, as tests/snapshots/ has it: written again after a change that is meant.
snapshots: $(READY)
	WRITE_SNAPSHOTS=1 $(BIN)/python -m pytest -q tests/unit/cli/test_snapshots.py

# The trackers' packages are not needed for anything else; without them the tests that read back what was logged are skipped.
test-trackers: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[trackers]"
	$(BIN)/python -m pytest -m tracker tests/unit/run/session/test_trackers.py

# Damaged and hostile input for the checks, for as long as one likes: `make fuzz SECONDS=3600`.
fuzz: $(READY)
	PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(SECONDS) --seed $(SEED)

# Runs, sweeps and stages that are killed and resumed, and studies in databases: they take minutes.
fuzz-kills: $(READY)
	PYTHONPATH=tests $(BIN)/python -m fuzz.kills --seed $(SEED)

fuzz-databases: $(READY)
	PYTHONPATH=tests $(BIN)/python -m fuzz.databases

# The linters of workflows and Dockerfiles run where they are installed.
lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	! command -v actionlint >/dev/null || actionlint -shellcheck= -pyflakes=
	! command -v hadolint >/dev/null || hadolint Dockerfile Dockerfile.cuda

docs: $(READY)
	$(BIN)/python -m autotrain_llm.docs write

check-docs: $(READY)
	$(BIN)/python -m autotrain_llm.docs --check

# The pages as a site with search, in build/site. A link that leads nowhere is an error.
docs-site: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	$(BIN)/python -m pytest tests/integration/test_site.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# The pictures of README.md, from real output: docs/images/make.py.
pictures: $(READY)
	$(BIN)/python docs/images/make.py

# dist/ with the package as source and as a wheel, both checked.
package: $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[package]"
	rm -rf build dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

benchmarks: $(READY)
	$(BIN)/python benchmarks/startup.py

clean:
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .ruff_cache .mypy_cache
