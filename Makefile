# Every command of the project; each makes the environment it needs.
# `make help` lists them.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
CONSTRAINTS ?= constraints.txt
# Test files that run at a time.
JOBS ?= 2
INSTALL = $(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS)
CODE = dfml tests benchmarks examples docs

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the commands.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

$(VENV)/.user: $(BIN)/python pyproject.toml $(CONSTRAINTS)
	$(INSTALL) --editable ".[plot]"
	@touch $@

$(VENV)/.dev: $(VENV)/.user
	$(INSTALL) --editable ".[all]" --group check
	@touch $@

$(VENV)/.docs: $(VENV)/.dev
	$(INSTALL) --group docs
	@touch $@

.PHONY: demo
demo: $(VENV)/.user ## Train from SQL, score a Parquet lake, show the result (demo-output/).
	$(BIN)/dfml demo

.PHONY: test
test: $(VENV)/.dev ## Run the tests and the examples in docstrings and Markdown pages.
	$(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=worksteal $(ARGS)

.PHONY: check
check: $(VENV)/.dev ## Check format, lint, types, docstrings and import rules.
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py

.PHONY: format
format: $(VENV)/.dev ## Format the code and mend what the linter can.
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

.PHONY: examples
examples: $(VENV)/.dev ## Run the programs of examples/.
	@set -e; for program in examples/*.py; do echo "== $$program"; $(BIN)/python $$program; done

.PHONY: test-minimum
test-minimum: ## Run the tests with the oldest supported versions.
	$(MAKE) test VENV=.venv-minimum CONSTRAINTS=constraints-minimum.txt ARGS="$(ARGS)"

# What dfml is compared with needs versions of its own; PySpark also needs Java 17.
PEERS ?= .venv-peers
VERSION_OF = $(BIN)/python -c "from importlib.metadata import version as v; print('$(1)==' + v('$(1)'))"

$(PEERS)/.made: $(VENV)/.dev
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet dask-ml "dask[dataframe,distributed]" psutil pyspark \
	    $$($(call VERSION_OF,scikit-learn))  # the models are the same files
	@touch $@

.PHONY: bench
bench: $(VENV)/.dev $(PEERS)/.made ## Run the benchmarks; their tables go to docs/benchmarks.
	$(INSTALL) --group bench
	$(BIN)/python benchmarks/training.py --peer-python $(PEERS)/bin/python
	$(BIN)/python benchmarks/lake.py --peer-python $(PEERS)/bin/python
	$(BIN)/python benchmarks/sql.py

.PHONY: soak
soak: $(VENV)/.dev ## Kill workers and drivers for an hour, and count what is not bit-equal.
	$(INSTALL) --group bench
	$(BIN)/python benchmarks/soak/soak.py
	$(BIN)/python benchmarks/soak/jobs.py --jobs 100

.PHONY: docs
docs: $(VENV)/.docs ## Build the documentation into docs/_build.
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build

.PHONY: clean
clean: ## Remove environments, caches and built files.
	rm -rf $(VENV) .venv-minimum $(PEERS) docs/_build demo-output .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
