# The commands of the project. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
PYTHONS ?= python3.11 python3.12
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
NOTEBOOKS := $(sort $(wildcard notebooks/*.ipynb))

# Tests against real imagery run where that imagery lies beside the checkout.
ifneq ($(wildcard ../shared/data/.),)
export LSTZOOM_REAL_DATA ?= $(abspath ../shared/data)
endif

.PHONY: help setup demo test test-slow test-all lint format bench bench-accuracy bench-speed bench-workers bench-large \
	bench-mosaic pydms notebooks docs package test-faults fuzz audit sbom constraints \
	apt apt-browser apt-cluster apt-nginx clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 18

setup: $(VENV)/.kernels ## make .venv with pinned versions (again when pyproject.toml or constraints.txt change)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is $$($(PYTHON) --version 2>&1); lstzoom needs Python 3.11 or newer:" \
			"make setup PYTHON=python3.12" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
		echo "$(PYTHON) cannot make a virtual environment; on Debian or Ubuntu: make apt" >&2; exit 1; }
	@echo "installing pinned packages into $(VENV): two to five minutes, once, without a word"
	$(BIN)/python -m pip install --disable-pip-version-check --quiet \
		--constraint constraints.txt --editable ".[dev,report,gateway,kubernetes,slurm]"
	@touch $@

# Kernels are compiled once for their text; without this the first run would wait for it.
KERNELS := $(VENV)/.kernels
$(KERNELS): $(STAMP) $(wildcard lstzoom/kernels/*.py)
	@echo "compiling kernels: half a minute, once"
	$(BIN)/lstzoom warm
	@touch $@

demo: $(KERNELS) ## sharpen a simulated scene, start to end
	$(BIN)/lstzoom demo

test: $(KERNELS) ## run the default tests (not slow, no cluster)
	$(BIN)/python -m pytest

test-slow: $(KERNELS) ## run only the slow and the cluster tests
	$(BIN)/python -m pytest -m "slow or cluster"

test-all: $(KERNELS) ## run all tests
	$(BIN)/python -m pytest -m ""

test-faults: $(KERNELS) ## carry out every fault, print what came of each, write build/faults.md
	LSTZOOM_FAULTS=build/faults.md $(BIN)/python -m pytest -p tests.faults.table -m fault

# FUZZ is one of raster, job, catalog, items, area, bundle, model, and of what a run keeps: entry, record, failure,
# summary, "frozen job", lease, places. atheris has wheels for some versions of Python.
FUZZ ?= bundle
FUZZ_SECONDS ?= 60
fuzz: $(KERNELS) $(VENV)/.fuzz ## follow branches of a reader with atheris (FUZZ=items FUZZ_SECONDS=600)
	@mkdir -p "build/fuzz/$(FUZZ)"
	$(BIN)/python -m tools.fuzz "$(FUZZ)" "build/fuzz/$(FUZZ)" -max_total_time=$(FUZZ_SECONDS) -max_len=200000

$(VENV)/.fuzz: $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet "atheris>=3"
	@touch $@

.venv-audit/.installed:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/python -m pip install --disable-pip-version-check --quiet "pip-audit>=2.10" "cyclonedx-bom>=7"
	@touch $@

audit: .venv-audit/.installed ## look pinned dependencies up among known vulnerabilities (needs pypi.org)
	@.venv-audit/bin/python tools/audit.py constraints.txt

sbom: $(STAMP) .venv-audit/.installed ## list what is installed, with versions and licences: build/sbom.json (CycloneDX)
	@mkdir -p build
	.venv-audit/bin/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --of JSON -o build/sbom.json
	@echo build/sbom.json

lint: $(STAMP) ## check format, lint, types and the direction of imports
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## rewrite the files as `make lint` wants them, where that is safe
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: bench-accuracy bench-speed bench-workers ## run the quick benchmarks

bench-speed: $(KERNELS) ## measure CPU time and memory beside the I/O floor (and pyDMS in .venv-pydms)
	$(BIN)/python -m benchmarks.speed --size 1200 --pydms-size 600

bench-workers: $(KERNELS) ## measure two worker processes against one, and count dask tasks
	$(BIN)/python -m benchmarks.workers --size 1200 --repeat 1

bench-large: $(KERNELS) ## measure 2400 to 9600 pixels a side and a Sentinel-2 tile (an hour, 8 GB of disk)
	$(BIN)/python -m benchmarks.speed --size 2400
	$(BIN)/python -m benchmarks.workers
	$(BIN)/python -m benchmarks.scaling
	$(BIN)/python -m benchmarks.tile

bench-mosaic: $(KERNELS) ## measure steps at the edges of scenes, tiles of mosaics, and the memory of one big COG (3 GB of disk)
	$(BIN)/python -m benchmarks.mosaic

bench-accuracy: $(KERNELS) ## measure the error against known truth, beside every bar and pyDMS
	$(BIN)/python -m benchmarks.accuracy --json build/accuracy.json

# pyDMS needs GDAL's own bindings, which Debian builds for its own Python and numpy 1: apt-get install
# python3-gdal python3-venv. It runs in an environment of its own and nothing else does.
pydms: .venv-pydms/.installed ## make .venv-pydms with pyDMS (another sharpener) for bench-accuracy

.venv-pydms/.installed:
	/usr/bin/python3 -c 'from osgeo import gdal' || { echo "no GDAL bindings: apt-get install python3-gdal" >&2; exit 1; }
	/usr/bin/python3 -m venv --system-site-packages .venv-pydms
	.venv-pydms/bin/python -m pip install --disable-pip-version-check --quiet "python_dms==1.2.1" "numpy<2" scipy scikit-learn
	@touch $@

notebooks: $(KERNELS) $(VENV)/.notebooks ## run every notebook from start to end; warnings are failures
	$(BIN)/python tools/notebooks.py build/notebooks $(NOTEBOOKS)
	$(BIN)/python -m pytest -q tests/test_xarray_habits.py

$(VENV)/.notebooks: $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet \
		--constraint constraints.txt --editable ".[notebooks]"
	@touch $@

docs: $(VENV)/.docs ## build the documentation into build/site, strictly and without the network
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "build/site/index.html opens by itself; for its search, serve it and open http://127.0.0.1:8000:"
	@echo "  $(BIN)/python -m http.server -d build/site --bind 127.0.0.1 8000"

$(VENV)/.docs: $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable ".[docs]"
	@touch $@

package: $(KERNELS) ## build sdist and wheel, check them, and run the demo from the wheel in a fresh environment
	$(BIN)/python tools/package.py

constraints: ## resolve constraints.txt anew (PYTHONS="python3.11 python3.12 python3.13")
	$(PYTHON) tools/constraints.py $(PYTHONS)

apt-browser: ## install Chromium and its driver, in which the report is tested (asks for root)
	$(if $(filter 0,$(shell id -u)),,sudo )apt-get update --quiet
	$(if $(filter 0,$(shell id -u)),,sudo )apt-get install --yes --no-install-recommends chromium chromium-driver

apt: ## install the system packages on Debian or Ubuntu (asks for root)
	$(if $(filter 0,$(shell id -u)),,sudo )apt-get install --yes make python3 python3-pip python3-venv libexpat1

apt-cluster: ## install SLURM and munge on Debian or Ubuntu, for the tests that run them (asks for root)
	$(if $(filter 0,$(shell id -u)),,sudo )apt-get update --quiet
	$(if $(filter 0,$(shell id -u)),,sudo )apt-get install --yes --no-install-recommends munge slurm-wlm systemd

apt-nginx: ## install nginx on Debian or Ubuntu, from which tests read by HTTP (asks for root)
	$(if $(filter 0,$(shell id -u)),,sudo )apt-get update --quiet
	$(if $(filter 0,$(shell id -u)),,sudo )apt-get install --yes --no-install-recommends nginx-light

clean: ## delete caches and builds; keeps .venv (delete that folder to start over)
	rm -rf build dist .import_linter_cache .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
