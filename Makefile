# The commands of this repository. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
SOURCES := drainproof checks fixtures/engines tests bench docs conftest.py

.PHONY: help setup demo test test-engine check format lock docs bench-audit bench-streams clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready ## Make .venv with drainproof in it; builds nothing else

.venv/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	@# uv by its own entry in the lock file, then all the rest by uv
	sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement .venv/uv.lock
	$(BIN)/uv pip sync --quiet --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --no-build-isolation --no-deps --editable .
	@touch $@

demo: setup ## A real vLLM in a real cluster, the module's way and the right way: audited, rolled under load, judged
	$(BIN)/python -m fixtures.demo

test: check ## Every test, the end-to-end ones on the embedded cluster included
	$(BIN)/pytest -m "not thorough"

test-engine: setup ## Every case on the real engine, those that `make test` leaves to the simulated one included
	$(BIN)/pytest tests/e2e/test_real_engine.py

check: setup ## Format check, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: setup ## Write requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --group dev pyproject.toml --output-file requirements.lock --upgrade

docs: setup ## Write docs/checks and the README's table anew from the checks
	$(BIN)/python -m docs.generate

bench-audit: setup ## drainproof audit beside kube-score, one generated file
	$(BIN)/python bench/audit/run.py

bench-streams: setup ## The stream client beside Go's net/http and a C epoll reader
	$(BIN)/python bench/streams/run.py

clean: ## Remove .venv and what tools leave; the cache and a running cluster stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
