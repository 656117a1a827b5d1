# Every target sets up what it needs. PYTHON chooses the interpreter of the virtual environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTHONS := 3.11 3.12 3.13 3.14

# Where it is set, every command under test compiles the whole package again: half a second each.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all chaos bench check format lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY) ## .venv with .venv/bin/exporter, all extras in it

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is older than 3.11: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' \
		|| { echo "$(PYTHON) cannot make virtual environments: install its venv package" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY) ## export a dozen conversations from the built-in sandbox
	$(BIN)/exporter demo

test: $(READY) ## all tests (WORKERS=n: so many at a time; default: one a core, and one more)
	$(BIN)/python -m pytest -n $(or $(WORKERS),$(shell $(BIN)/python -c "import os; print(1 + (os.cpu_count() or 1))")) --dist worksteal

test-all: ## the tests on every Python from 3.11 to 3.14 that this machine has
	@tested=0; for version in $(PYTHONS); do \
		python=$$(scripts/find-python $$version) || { echo "== Python $$version: not on this machine"; continue; }; \
		echo "== Python $$version: $$python"; \
		$(MAKE) --no-print-directory test PYTHON=$$python VENV=.venvs/$$version || exit 1; \
		tested=$$((tested + 1)); \
	done; echo "== the tests pass on $$tested versions of Python"; test $$tested -gt 0

chaos: $(READY) ## 200 rounds of kill -9, faults and full disks (ROUNDS=n SEED=n)
	$(BIN)/python -m tests.chaos.chaos --rounds $(or $(ROUNDS),200) $(if $(SEED),--seed $(SEED))

bench: $(READY) ## against peers, against limits, at a million recordings (QUICK=1: a small part)
	@mkdir -p benchmarks/work
	$(BIN)/python benchmarks/downloads.py $(if $(QUICK),--quick) \
		--json benchmarks/work/downloads.json --svg benchmarks/work/downloads.svg
	$(BIN)/python benchmarks/latency.py $(if $(QUICK),--seconds 2 --rounds 1) \
		--json benchmarks/work/latency.json
	$(BIN)/python benchmarks/pace.py --conversations $(if $(QUICK),20000,200000) \
		--json benchmarks/work/pace.json
	$(BIN)/python benchmarks/traffic.py $(if $(QUICK),--quick) --json benchmarks/work/traffic.json
	$(BIN)/python benchmarks/second_run.py --recordings $(if $(QUICK),20000,1000000)
	$(BIN)/python benchmarks/discovering.py --conversations $(if $(QUICK),60000,1000000)
	$(BIN)/python -m benchmarks.stores $(if $(QUICK),--quick)

check: $(READY) ## lint, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy exporter tests benchmarks
	$(BIN)/lint-imports --no-logo

format: $(READY) ## let the formatter and the safe fixes have their way
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: $(READY) ## resolve the dependencies anew (needs uv: it makes one lock for all platforms)
	@command -v uv >/dev/null || { echo "uv is not installed: python3 -m pip install uv" >&2; exit 1; }
	uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes \
		--no-annotate --no-header --no-emit-index-url --no-emit-find-links \
		--upgrade pyproject.toml --output-file requirements.lock

clean: ## remove everything that make made
	rm -rf .venv .venvs .azurite .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
