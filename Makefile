# make quickstart · make test · make check · make lowest · make gpu · make slow · make browser · make bench · make docs · make base
# TORCH_INDEX names another package index for torch, e.g. make test TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
BIN := $(VENV)/bin
LOWEST := .venv-lowest
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export HF_HUB_OFFLINE ?= 1

.PHONY: quickstart test check format lowest gpu slow browser bench docs base clean

quickstart: $(VENV)/installed
	$(BIN)/python -m seektune.base.quickstart

test: check
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/developer
	$(BIN)/ruff format --check src tests bench docs
	$(BIN)/ruff check src tests bench docs
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(VENV)/developer
	$(BIN)/ruff format src tests bench docs
	$(BIN)/ruff check --fix src tests bench docs

lowest: $(LOWEST)/installed
	$(LOWEST)/bin/python -m pytest -n 2 --dist loadfile -rs

# what needs a CUDA GPU; skipped without one
gpu: $(VENV)/developer
	$(BIN)/python -m pytest tests/gpu

slow: $(VENV)/developer
	$(BIN)/python -m pytest -m slow

browser: $(VENV)/developer
	$(BIN)/python -m pytest tests/browser

bench: $(VENV)/bench
	$(BIN)/python bench/start.py
	$(BIN)/python bench/step.py

docs: $(VENV)/developer
	$(BIN)/python docs/generate.py

base: $(VENV)/installed
	$(BIN)/python -m seektune.base.make

clean:
	rm -rf $(VENV) $(LOWEST) .mypy_cache .ruff_cache .pytest_cache

# torch first and alone, so that a machine which holds a CPU build of it takes that one
$(VENV)/torch: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0
	touch $@

$(VENV)/installed: $(VENV)/torch pyproject.toml
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/developer: $(VENV)/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

$(VENV)/bench: $(VENV)/developer
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[bench]"
	touch $@

# the lowest versions that pyproject.toml promises, in an environment of their own
$(LOWEST)/torch: constraints-lowest.txt
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.11.0
	touch $@

$(LOWEST)/installed: $(LOWEST)/torch pyproject.toml
	$(LOWEST)/bin/pip install --quiet --constraint constraints-lowest.txt --editable ".[data]" pytest pytest-xdist hypothesis
	touch $@
