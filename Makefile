# What each target needs, it makes. Needs Python 3.10-3.12 and make; everything else lands in .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
EXTRAS ?= all

.DEFAULT_GOAL := help
.PHONY: help env demo test lint format perf models docs clean

help:            ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

env: $(STAMP)    ## a .venv with everything but the gpu extra

$(STAMP): setup.cfg constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v <= (3, 12) else f"expected Python 3.10-3.12; found {v[0]}.{v[1]}; run make PYTHON=python3.11 (or another of them)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv pip install --python $(BIN)/python -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

demo: env        ## the frozen battery on generated scenes and four tiny shipped backbones, then the table and the site
	$(BIN)/python run_bench.py demo

test: env        ## every test; real data where TRANSFERBENCH_DATA names the folder, pages where Chromium is on the path
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

lint: env        ## format check, lint, types, import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: env      ## apply the formatter and the safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

perf: env        ## side-by-side speed and memory figures, also written to perf.json
	$(BIN)/python -m tests.perf

models: env      ## train the demo's tiny backbones again (minutes on a CPU)
	$(BIN)/python -m benchmark.demo.train

docs: env        ## make the generated pages of docs/ again
	$(BIN)/python docs/make_checkpoints.py

clean:           ## remove the environment and caches
	rm -rf $(VENV) *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
