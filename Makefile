# embedkit on a machine with nothing but Python >= 3.11, pip and make.
#
#   make demo     draw a data set, audit it, name the report
#   make test     run the tests
#   make lint     ruff and mypy
#   make bench    measure again what docs/ shows (needs real data sets; see benchmarks/README.md)
#   make sbom     write sbom.json: every locked package with hashes and licence, as CycloneDX
#   make lock     resolve the locked dependencies anew (needs uv)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint bench sbom lock clean

demo: $(READY)
	$(BIN)/embedkit demo demo

test: $(READY)
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n 3 --dist loadfile --max-worker-restart 0 $(PYTEST)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python benchmarks/run_all.py

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "embedkit needs Python 3.11 or newer; say which with make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

sbom: $(READY)
	$(BIN)/python .ci/components.py --sbom sbom.json

lock:
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes \
		--quiet --no-annotate --no-header --output-file requirements.lock

clean:
	rm -rf $(VENV) demo sbom.json .mypy_cache .ruff_cache .pytest_cache .hypothesis
