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

# The long forms of what `make test` does in short, each with its figures: hours. RUNS are the inputs for each fuzz target.
FIGURES := -q -p no:xdist --log-cli-level=INFO
SEALING := */coatcheck/envelope.py,*/codecs/aead.py,*/coatcheck/reference.py,*/coatcheck/wire.py
RUNS ?= 10000000

verify: engines
	@echo '== published vectors, forgeries, swaps, commitment, downgrades, bombs, canary, clocks, cancellation; what they cover'
	mkdir -p build
	COVERAGE_FILE=build/coverage $(BIN)/coverage run --branch --include='$(SEALING)' -m pytest $(FIGURES) tests/published tests/security tests/codecs tests/test_envelope.py tests/test_reference.py tests/test_wire_format.py tests/test_chain.py
	COVERAGE_FILE=build/coverage $(BIN)/coverage report --show-missing --fail-under=100
	@echo '== keys: services, rotation, rekey, shredding, with runs in flight'
	$(BIN)/python -m pytest -q tests/keys tests/integrations/temporal/test_rotation.py tests/integrations/restate/test_tenant_keys.py
	@echo '== faults: of each kind for each store, damage, a slow store inside a workflow task'
	$(BIN)/python -m pytest -q -n 2 tests/test_tampering.py tests/test_access.py tests/stores/test_fault_matrix.py tests/stores/test_file_faults.py tests/stores/test_cached_disk.py tests/stores/test_faults_in_temporal.py
	@echo '== faults: 10,000 operations in bad weather, 1,000 writers killed for each store'
	COATCHECK_SOAK_OPERATIONS=10000 COATCHECK_SOAK_KILLS=1000 $(BIN)/python -m pytest $(FIGURES) tests/stores/test_fault_soak.py tests/stores/test_kills.py
	@echo '== what sealing costs'
	$(BIN)/python -m benchmarks.sealing
	@echo '== mutants of envelope, sealing and reference'
	$(BIN)/python -m tests.security.mutation
	@echo '== fuzzing'
	$(BIN)/python -m tests.fuzz.run --runs $(RUNS)

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: setup
	$(BIN)/mypy
	$(BIN)/pyright

clean:
	rm -rf $(VENV) dist build
