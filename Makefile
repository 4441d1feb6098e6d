# Every target does its own set-up in .venv; a machine needs Python 3.11-3.13, git and make.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed-
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-slow check bench install docs clean

install: $(STAMP)all          ## makar with everything a user needs
demo: $(STAMP)all             ## real poems to a trained model that writes, on this machine
	$(BIN)/makar demo

test: $(STAMP)dev             ## the tests that run on every change
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(STAMP)dev        ## the long forms: kills at random moments, whole parity sweeps, hours of fuzz cut to minutes
	$(BIN)/python -m pytest -m "slow and not gpu" --timeout 1800

check: $(STAMP)dev            ## format, lint, types, the arrows between rooms, the documents
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m scripts.docs --check

bench: $(STAMP)dev            ## side by side with the peers; JSON on stdout
	$(BIN)/python -m benchmarks

docs: $(STAMP)dev             ## write again what is made from the code: schema, help, file tree
	$(BIN)/python -m scripts.docs

.venv/bin/python:
	$(PYTHON) -m venv .venv

$(STAMP)torch: constraints.txt | .venv/bin/python
	$(BIN)/pip install -q -c constraints.txt torch
	touch $@

$(STAMP)all: pyproject.toml constraints.txt $(STAMP)torch
	$(BIN)/pip install -q -c constraints.txt -e ".[all]"
	touch $@

$(STAMP)dev: pyproject.toml constraints.txt $(STAMP)torch
	$(BIN)/pip install -q -c constraints.txt -e ".[all,dev,peers]"
	touch $@

clean:
	rm -rf .venv .pytest_cache .ruff_cache build src/*.egg-info
