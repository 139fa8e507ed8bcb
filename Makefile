# Everything runs from .venv, which is made from the locked requirements on first use.
PYTHON ?= python3
WORKERS ?= auto
OUT ?= demo_out
PYTEST_ARGS ?=

BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: demo test notebooks check format lock clean help

demo: $(INSTALLED)  ## retarget the bundled clip, train, evaluate, write a report and a video into demo_out/
	$(BIN)/musclewarp demo --out $(OUT)

test: $(INSTALLED)  ## all tests, with coverage (WORKERS=n, PYTEST_ARGS="-k name")
	$(BIN)/pytest -n $(WORKERS) --dist worksteal --cov --cov-report=term $(PYTEST_ARGS)

notebooks: $(INSTALLED)  ## execute every notebook (`make test` does, too); needs MUSCLEWARP_DATA
	$(BIN)/pytest --nbmake notebooks

check: $(INSTALLED)  ## formatting, lint, types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: $(INSTALLED)  ## format the code and fix what ruff can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

# Torch is not in the lock (its wheel differs between CPU and CUDA machines), nor are the CUDA packages that only it asks
# for; see requirements/torch.txt.
lock: $(INSTALLED)  ## resolve requirements/dev.lock again, with the newest versions
	$(BIN)/uv pip compile pyproject.toml requirements/torch.txt --extra dev --universal --python-version 3.11 \
		--upgrade --generate-hashes --annotation-style line --custom-compile-command "make lock" --quiet \
		--no-emit-package torch --excludes requirements/cuda.txt --output-file requirements/dev.lock

# The lock has hashes, so pip demands them of every package of that call: torch, and this package, are calls of their own.
$(INSTALLED): requirements/dev.lock requirements/torch.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "musclewarp needs Python 3.11 or newer: make PYTHON=...")'
	@echo "Installing the locked environment into .venv, two minutes or more"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -qq --require-hashes --no-deps -r requirements/dev.lock
	$(BIN)/pip install -qq -r requirements/torch.txt
	$(BIN)/pip install -qq --no-deps --no-build-isolation -e .
	touch $@

clean:  ## remove .venv and everything that tools and runs wrote
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache .hypothesis .coverage .coverage.* htmlcov $(OUT)

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10
