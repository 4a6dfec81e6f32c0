# `make help` lists the targets; each makes the virtual environment that it needs.
#
#   PYTHON=python3.12    the interpreter (default: the first of the list that is 3.11 or newer)
#   ARGS='-k guidance'   handed to pytest, or to the program that the target runs
#   WORKERS=0            pytest processes of `make test`; 0 is one, and shows what a test prints

SHELL := /bin/bash
PYTHON ?= python3.12 python3.11 python3 python
# PyTorch comes later to a new Python than JAX does.
PARITY_PYTHON ?= $(if $(filter file,$(origin PYTHON)),python3.11 python3.12 python3 python,$(PYTHON))
WORKERS ?= 2
ARGS ?=

# Compilation fills one core; threads of BLAS would only fight the other process for it.
LEAN := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

# On a CPU the figures of the tests and of the demo are the same everywhere.
export JAX_PLATFORMS ?= cpu

.DEFAULT_GOAL := help
.PHONY: help demo mixture portraits test test-house pages notebooks results lint format parity bench-conv bench-data doctor wheel lock clean env env-parity

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /:/' | awk -F: '{printf "%-12s %s\n", $$1, $$2}'

demo: env ## the main job, from scratch to samples between the extremes: runs/demo
	.venv/bin/python -m bench.demo --workdir runs/demo $(ARGS)

mixture: env ## the closed-form mixture, unguided, one-sided and multi-guided: runs/mixture
	.venv/bin/python -m bench.mixture --out runs/mixture $(ARGS)

portraits: env ## the contact sheets of the drawn portraits: docs/portraits*.png
	.venv/bin/python -m bench.portraits $(ARGS)

test: env ## every test that needs no PyTorch
	$(LEAN) .venv/bin/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)
	@if compgen -G 'tests/multidevice/test_*.py' >/dev/null; then \
	  set -x; .venv/bin/python -m pytest tests/multidevice $(ARGS) || [ $$? = 5 ]; fi  # 5: ARGS chose none of them

test-house: env ## the tests of the repository itself, in seconds
	.venv/bin/python -m pytest tests/test_house.py tests/test_main.py $(ARGS)

pages: env ## the report's pages, and those of docs/results, in a headless Chromium
	.venv/bin/python -m pytest tests/pages $(ARGS)

notebooks: env ## run every notebook again; ARGS=--write keeps what it shows now
	.venv/bin/python -m bench.notebooks $(ARGS)

results: env ## README's table of experiments, from docs/results/*/metrics.json
	.venv/bin/python -m bench.experiments $(ARGS)

lint: env ## ruff and mypy; changes nothing
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

format: env ## let ruff mend what it can
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

parity: env-parity ## against PyTorch, diffusers and transformers, in .venv-parity
	.venv-parity/bin/python -m pytest tests/parity $(ARGS)

bench-conv: env ## convolutions inside a scan against outside it
	.venv/bin/python -m bench.conv_in_scan $(ARGS)

bench-data: env ## images a second of every data set: drawn, from disk, from memory
	.venv/bin/python -m bench.data $(ARGS)

doctor: env ## what this machine has, and what it lacks
	@JAX_PLATFORMS= .venv/bin/zsi doctor $(ARGS)

wheel: env ## dist/zsi_jax-*.whl
	rm -rf dist
	.venv/bin/python -m build --wheel --no-isolation --outdir dist .

lock: ## resolve the newest versions again, on Linux with python3.11 and python3.12
	.ci/lock python3.11 python3.12

clean: ## environments, caches and builds; runs/ stays
	rm -rf .venv .venv-parity build dist .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

env:
	@.ci/venv .venv dev $(PYTHON)

env-parity:
	@.ci/venv .venv-parity dev,parity $(PARITY_PYTHON)
