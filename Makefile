# The commands a person needs. Everything runs inside .venv, which `make setup` makes.
.PHONY: setup demo test test-slow check format screenshots clean
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile
.PHONY: help

setup: $(STAMP)  ## make .venv and install everything into it

# The stamp is written last, so that an install that was cut short starts again.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Regate needs Python 3.11 or newer, but $(PYTHON) is $$($(PYTHON) --version 2>&1)." \
		"Name another one: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments." \
		"Install its venv package (Debian, Ubuntu: apt install python3-venv)." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]' || { \
		echo "The install failed. With torch's CUDA libraries it takes 6 GB here and 3 GB more in" \
		"$${TMPDIR:-/tmp} on the way; free now:" >&2; df -h . "$${TMPDIR:-/tmp}" >&2; exit 1; }
	@touch $(STAMP)

demo: setup  ## train a gate, compare it at matched compute, write runs/demo (minutes on 2 cores)
	$(BIN)/regate demo

# One thread each, because the workers already fill the cores.
test: setup  ## run the tests (under 5 minutes on 2 cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses auto --maxprocesses 4

test-slow: setup  ## run the tests that take more than 10 s each
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slow

check: setup  ## lint, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict policy backbones datamodules

format: setup  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

screenshots: setup  ## render TensorBoard in headless Chromium for the docs
	$(BIN)/python docs/screenshots.py

clean:  ## remove .venv, caches and build output, but never runs/ or data/
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
	find policy backbones datamodules tests -name __pycache__ -type d -prune -exec rm -rf {} +
