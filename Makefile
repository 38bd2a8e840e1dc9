# The front door. Everything CI does, it does through these targets.
PY ?= .venv/bin/python
PYTHON ?= python3
OMP_NUM_THREADS ?= 2
export OMP_NUM_THREADS
PARTS = espalier frontend_lang runtime radix_cache grammar kernels benchmarks
CODE = $(PARTS) tests examples

.PHONY: help setup fmt check test test-gpu bench bench-gpu demo dist clean
help:
	@echo "make setup     one environment under .venv, with everything the other targets need"
	@echo "make demo      a guided tour with the embedded model (no download), under a minute"
	@echo "make check     ruff, mypy --strict, pyright, import rules"
	@echo "make test      every test that needs no GPU"
	@echo "make bench     the benchmarks that make README's table"
	@echo "make test-gpu  the tests marked gpu;  make bench-gpu  the GPU benchmarks   (PY=python3 uses your own environment)"
	@echo "make fmt       format;  make dist  wheel and sdist;  make clean"

setup: .make/setup
.make/setup: pyproject.toml constraints.txt tools/link_types.py
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install -q -c constraints.txt torch || { echo "torch did not install; see README, 'CPU-only torch'"; exit 1; }
	.venv/bin/python -m pip install -q -c constraints.txt -e '.[dev]'
	.venv/bin/python tools/link_types.py
	mkdir -p .make && touch .make/setup

fmt: .make/setup
	$(PY) -m ruff format $(CODE)
	$(PY) -m ruff check --fix $(CODE)

check: .make/setup
	$(PY) -m ruff format --check $(CODE)
	$(PY) -m ruff check $(CODE)
	$(PY) tools/link_types.py
	$(PY) -m mypy -p espalier
	$(PY) -m pyright
	$(PY) -m pytest -q tests/test_house.py -k "imports"

test: .make/setup
	$(PY) -m pytest -q -m "not gpu" tests

demo: .make/setup
	$(PY) -m espalier.runtime.cli demo

test-gpu:
	$(PY) -m pytest -q -m gpu tests

bench: .make/setup
	$(PY) -m espalier.runtime.cli bench all

bench-gpu:
	$(PY) -m espalier.runtime.cli bench gpu

dist: .make/setup
	rm -rf dist build
	$(PY) -m build

clean:
	rm -rf .make .typing dist build .pytest_cache .mypy_cache .ruff_cache
