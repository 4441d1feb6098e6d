# Every target does its own set-up in .venv; a machine needs Python 3.11-3.13, git and make.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed-
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq --root-user-action ignore -c constraints.txt

.PHONY: help install demo test test-slow check bench docs clean

help:                         ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 12

install: $(STAMP)all          ## makar with everything a user needs

demo: $(STAMP)all             ## real poems to a trained model that writes, on this machine
	$(BIN)/makar demo

test: $(STAMP)dev             ## the tests that run on every change
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-slow: $(STAMP)dev        ## the long forms: kills at random moments, whole parity sweeps, long fuzz
	$(BIN)/python -m pytest -m "slow and not gpu" --timeout 1800

check: $(STAMP)dev            ## format, lint, types, the arrows between rooms, the documents
	$(BIN)/ruff format --quiet --check .
	$(BIN)/ruff check --quiet .
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python -m scripts.docs --check

bench: $(STAMP)dev            ## side by side with the peers; JSON on stdout
	$(BIN)/python -m benchmarks

docs: $(STAMP)dev             ## write again what is made from the code: command line, recipes, schema, file tree
	$(BIN)/python -m scripts.docs

clean:                        ## remove what make made; data and runs stay
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis build src/*.egg-info

# torch first: with it in place, nothing after it asks for another build.
$(STAMP)torch: constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) else "makar needs Python 3.11 to 3.13, this is %d.%d: make PYTHON=python3.13" % v[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing torch into .venv" && $(PIP) torch && touch $@

$(STAMP)all: pyproject.toml constraints.txt $(STAMP)torch
	@echo "installing makar into .venv" && $(PIP) -e ".[all]" && touch $@

$(STAMP)dev: pyproject.toml constraints.txt $(STAMP)torch
	@echo "installing makar, its tools and the peers it is tested against into .venv" && $(PIP) -e ".[all,dev,peers]" && $(PIP) --no-deps torch-fidelity open_clip_torch && touch $@ # their torchvision breaks a CPU build of torch
