# The commands of this repository. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
E2E := "e2e and not thorough"
SOURCES := drainproof checks fixtures/engines tests bench docs conftest.py

.PHONY: help setup demo test test-thorough test-pythons check format lock image-lock sbom docs licences audit-lock policies chart bench-audit bench-streams bench-chaos bench-judge bench-simulate bench-policies bench-report clean

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
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder -m "not e2e and not thorough"
	@# On a real cluster and a busy machine: what failed runs once more, by itself; to fail twice is to fail
	$(BIN)/pytest -m $(E2E) || $(BIN)/pytest -m $(E2E) --last-failed --last-failed-no-failures none --exitfirst

test-thorough: setup ## What `make test` leaves out: other examples of each property, cases that others show, other Pythons
	$(BIN)/pytest -n auto -m hypothesis --hypothesis-profile=search
	$(BIN)/pytest -m thorough
	$(MAKE) test-pythons

test-pythons: setup ## The unit tests on each newer Python that this machine has or Debian lends; PYTHONS="3.13 3.14" for some
	$(BIN)/python -m tests.pythons $(PYTHONS)

check: setup ## Format check, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: setup ## Write requirements.lock anew from pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --group dev pyproject.toml --output-file requirements.lock --upgrade
	$(MAKE) image-lock

image-lock: setup ## Write deploy/requirements.lock anew: what the image installs, at requirements.lock's versions
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --constraint requirements.lock pyproject.toml --output-file deploy/requirements.lock

sbom: setup ## Write deploy/sbom.cdx.json anew: what the image installs, as CycloneDX
	$(BIN)/python -m docs.sbom

docs: setup ## Write docs/checks and the README's table anew from the checks
	$(BIN)/python -m docs.generate

licences: setup ## Write the licences of all dependencies; fails where one is unknown or not accepted
	$(BIN)/python -m docs.licences

audit-lock: setup ## Known vulnerabilities of what the lock files name; make says Error 1 for some, Error 3 where nobody could tell
	$(BIN)/python -m docs.advisories

policies: setup ## Write the policies and their Kyverno tests anew from their rules
	$(BIN)/python -m drainproof.policies.folder

chart: setup ## Write the Helm chart of the scheduled audit anew
	$(BIN)/python -m drainproof.install.chart

bench-audit: setup ## drainproof audit beside kube-score, one generated file
	$(BIN)/python bench/audit/run.py

bench-streams: setup ## The stream client beside Go, C, aiohttp and httpx: cost, streams on a core, memory
	$(BIN)/python bench/streams/run.py

bench-chaos: setup ## A chaos run beside the same faults by kubectl: how much longer it takes
	$(BIN)/python -m bench.chaos.run

bench-judge: setup ## The verdict on a million streams of 100 events: seconds, memory, and the same for a tenth
	$(BIN)/python bench/judge/run.py

bench-simulate: setup ## drainproof simulate beside Ciw and plain SimPy: requests a second; 1,000 replicas
	$(BIN)/python bench/simulate/run.py

bench-policies: setup ## Kyverno with all policies beside drainproof audit, one generated file
	$(BIN)/python bench/policies/run.py

bench-report: setup ## The HTML pages of 1,000 workloads and of 100,000 streams in Chromium: MB, seconds to open
	$(BIN)/python bench/report/run.py

clean: ## Remove .venv and what tools leave; the cache and a running cluster stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis dist build
