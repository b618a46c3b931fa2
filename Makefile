# Everything here sets itself up: Python 3.11+, pip, venv and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo engines test test-wheel verify lint types clean

$(VENV)/ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("coatcheck needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo,gcs,inngest,postgres,restate,s3,serve,testing]' --group dev
	touch $@

setup: $(VENV)/ready

demo: setup
	$(BIN)/coatcheck demo $(ARGS)

engines: setup
	$(BIN)/python -m tests.engines.install

test: engines
	$(BIN)/python -m pytest -n 2 $(ARGS)

# The same suite against the wheel that would be released, in an environment that has never seen the source.
test-wheel: engines
	$(BIN)/python -m tests.installed $(ARGS)

# The long forms of what `make test` does in short: an hour.
verify: engines
	COATCHECK_SOAK_OPERATIONS=10000 COATCHECK_SOAK_KILLS=1000 $(BIN)/python -m pytest tests/stores/test_fault_soak.py tests/stores/test_kills.py
	mkdir -p build
	COVERAGE_FILE=build/coverage $(BIN)/coverage run --branch --include='*/coatcheck/envelope.py,*/codecs/aead.py,*/coatcheck/reference.py,*/coatcheck/wire.py' -m pytest tests/test_envelope.py tests/test_reference.py tests/test_wire_format.py tests/test_chain.py tests/codecs tests/keys tests/published tests/security
	COVERAGE_FILE=build/coverage $(BIN)/coverage report --show-missing --fail-under=100
	$(BIN)/python -m benchmarks.sealing
	$(BIN)/python -m tests.model.checker
	$(BIN)/python -m tests.security.mutation
	$(BIN)/python -m tests.fuzz.run

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: setup
	$(BIN)/mypy
	$(BIN)/pyright

clean:
	rm -rf $(VENV) dist build
