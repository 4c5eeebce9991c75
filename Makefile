# Two commands need nothing but Python 3.11 or later: `make demo` and `make test`. The first call makes .venv.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format type check docs mutants bench constraints clean

BIN := .venv/bin

# Idle OpenMP threads that spin slow down everything else on shared cores.
export OMP_WAIT_POLICY := PASSIVE
# Without compiled files every start of torch costs seconds more.
unexport PYTHONDONTWRITEBYTECODE

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/.ready: pyproject.toml constraints.txt scripts/setup.sh
	scripts/setup.sh
	@touch $@

setup: .venv/.ready  ## make or refresh the environment .venv

test: lint type check  ## everything CI runs: lint, types and the test suite; at most 15 minutes on 2 cores

lint: .venv/.ready  ## formatting, style, spelling, import rules
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/codespell
	$(BIN)/lint-imports --no-logo

format: .venv/.ready  ## rewrite the code in the one format, with the fixes that are safe
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

type: .venv/.ready  ## mypy, strict, over src and tests
	$(BIN)/mypy

check: .venv/.ready  ## the test suite alone, on two processes
	$(BIN)/pytest -n 2

docs: .venv/.ready  ## the pages as a site, built strictly into build/site; the test suite builds it too
	$(BIN)/python -m sphinx -W --keep-going -q -c docs . build/site
	@echo "build/site/index.html"

demo: .venv/.ready  ## train SeqGAN on the built-in captions into runs/demo: samples, a table, and report.html
	rm -rf runs/demo
	$(BIN)/textforge train seqgan --data captions --preset small --pretrain-steps 800 --rounds 15 --seed 0 --controls none --out runs/demo

mutants: .venv/.ready  ## plant each bug of tests/mutants/catalogue.toml; the suite must catch all of them
	$(BIN)/python tests/mutants/run.py

bench: .venv/.ready  ## the speed of this machine, as ratios; six quiet minutes
	$(BIN)/textforge bench

# CUDA builds of torch pin their own libraries, and those differ from build to build: they stay out.
constraints:  ## bring constraints.txt up to date (needs uv); torch stays where it is pinned
	pin=$$(grep '^torch==' constraints.txt) && echo "$$pin" | uv pip compile --quiet --universal --no-header \
	    --no-annotate --all-extras --group dev --constraint - --python-version 3.11 pyproject.toml \
	    | grep -vE '^(cuda-|nvidia-|triton)' > constraints.new
	mv constraints.new constraints.txt

clean:  ## remove what was built, but no runs
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
