# Every target prepares what it needs first (scripts/setup.sh); the second call starts at once.
ARGS =
BIN = .venv/bin
READY = .venv/.ready
PARALLEL = -n auto --maxprocesses 4 --dist worksteal
unexport PYTHONDONTWRITEBYTECODE # without the compiled files of torch each of the tests' commands starts 10 seconds later

.PHONY: help setup demo test test-slow check docs format lock clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## only prepare: system packages, uv, .venv

demo: $(READY) ## run the demo (ARGS="..." is passed on)
	$(BIN)/dprune demo $(ARGS)

test: check ## lint, types, layers, then the tests but for the slow ones (ARGS="..." goes to pytest)
	$(BIN)/pytest $(PARALLEL) -m "not slow" $(ARGS)

test-slow: $(READY) ## the tests that `make test` leaves out (ARGS="..." goes to pytest)
	@scripts/setup.sh browser
	$(BIN)/pytest $(PARALLEL) -m slow $(ARGS)

check: $(READY) ## lint, types and layers only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(READY) ## build the documentation: site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)

format: $(READY) ## let ruff format the code and fix what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: ## write requirements.txt anew (ARGS=--upgrade for newer versions)
	@scripts/setup.sh lock $(ARGS)

clean: ## remove .venv, .uv and all caches
	rm -rf .venv .uv .setup.lock build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml requirements.txt scripts/setup.sh
	@scripts/setup.sh
