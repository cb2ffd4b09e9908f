# CSASN: `make help` lists the targets. Nothing here needs more than Python 3.11 and its package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCHMARKS := $(sort $(wildcard benchmarks/*.py))
CHECKED := .ci src tests $(wildcard benchmarks examples docs)

# Pretrained weights and real images beside the checkout are used where they exist.
export CSASN_WEIGHTS ?= $(abspath $(wildcard ../shared/weights))
export CSASN_DATA ?= $(abspath $(wildcard ../shared/data))

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test lint docs pages lock sbom audit bench gpu soak clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

install: $(STAMP) ## make .venv with csasn, small pretrained weights and the developer's tools

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "CSASN needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1)." >&2; \
		echo "Name another one: make $(or $(MAKECMDGOALS),install) PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV); the first time takes some minutes."
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -e '.[weights,dev]'
	@touch $@

demo: $(STAMP) ## simulate a cohort, train and evaluate on it, print where the report lies (minutes on two cores)
	@test -f demo/cohort/manifest.parquet || \
		$(BIN)/csasn simulate --out demo/cohort --patients 200 --sites 3 --seed 0
	$(BIN)/csasn run --cohort demo/cohort --config configs/demo.toml --out demo/run

test: $(STAMP) ## every test but the slow ones and those for an accelerator
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not slow and not gpu" -n 2

lint: $(STAMP) ## style, types, and the walls between the rooms
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(STAMP) ## build the documentation into site/; a broken link ends it
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Wrote the documentation: $(CURDIR)/site/index.html"

pages: $(STAMP) ## write again the pictures, the page of commands and the tables of results
	$(BIN)/python -m docs.pictures.house
	$(BIN)/python -m docs.pictures.run
	$(BIN)/python -m docs.reference.command_line
	$(BIN)/python -m docs.results.tables

lock: $(STAMP) ## write requirements.lock again: every package that csasn needs, with its hashes
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --extra weights --generate-hashes \
		--no-annotate --custom-compile-command "make lock" --quiet --output-file requirements.lock

sbom: $(STAMP) ## write dist/csasn.cdx.json: the locked packages as a CycloneDX bill of materials
	@mkdir -p dist
	$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible \
		--output-format JSON --output-file dist/csasn.cdx.json
	@echo "Wrote the bill of materials: $(CURDIR)/dist/csasn.cdx.json"

audit: $(STAMP) ## look the locked packages up in the list of known vulnerabilities; warns, never fails
	$(BIN)/python .ci/audit.py

bench: $(STAMP) ## run every benchmark
	@test -n "$(BENCHMARKS)" || { echo "benchmarks/ holds no benchmark." >&2; exit 1; }
	@set -e; for each in $(BENCHMARKS); do echo "== $$each"; $(BIN)/python $$each; done

gpu: $(STAMP) ## the tests that need an accelerator; they skip where there is none
	$(BIN)/pytest -m gpu

soak: $(STAMP) ## the slow tests
	$(BIN)/pytest -m slow

clean: ## remove the environment, the demo and every cache
	rm -rf $(VENV) demo site dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
