PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= 1

.PHONY: demo test test-slow test-gpu coverage check clean

demo: .venv/installed
	$(BIN)/dialsum screen

test: .venv/installed
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: .venv/installed
	$(BIN)/python -m pytest -n 2 --dist loadscope -m slow

test-gpu: .venv/installed
	$(BIN)/python -m pytest -m gpu

coverage: .venv/installed
	$(BIN)/python -m pytest -n 2 -m "not slow" --cov --cov-report= --cov-fail-under=0
	$(BIN)/python -m pytest -n 2 -m slow --cov --cov-append --cov-report=term-missing:skip-covered

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage*

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "dialsum needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
