# Everything here sets itself up: Python 3.11+, pip, venv and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements-dev.txt

# Tests and benchmarks start hundreds of processes: each would compile all that it imports.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup lock demo docs engines test test-wheel test-extras test-versions verify bench lint types clean

$(VENV)/ready: pyproject.toml $(LOCK)
	@$(PYTHON) -c 'import sys; sys.exit("coatcheck needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@# pip installs uv, at the version and hash of the lock, and uv the rest: a tenth of the time.
	sed -n '/^uv==/,/# via/p' $(LOCK) >$(VENV)/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(VENV)/uv.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes --requirement $(LOCK)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

setup: $(VENV)/ready

# After a change of dependencies; versions stay as they are where they can. `make lock ARGS=--upgrade` takes the newest.
lock: setup
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --group dev --generate-hashes \
		--custom-compile-command 'make lock' --output-file $(LOCK) $(ARGS) pyproject.toml
	$(MAKE) setup

demo: setup
	$(BIN)/coatcheck demo $(ARGS)

# The site, in build/site. `make test` builds it too, and runs every block of code in it.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

engines: setup
	$(BIN)/python -m tests.engines.install

# Half of the time its processes wait for servers: three keep two cores busy.
test: engines
	$(BIN)/python -m pytest -n 3 $(ARGS)

# The same suite against the wheel that would be released, in an environment that has never seen the source.
test-wheel: engines
	COATCHECK_WHEEL=$(WHEEL) $(BIN)/python -m tests.installed $(ARGS)

# The wheel with each extra alone.
test-extras: engines
	COATCHECK_WHEEL=$(WHEEL) $(BIN)/python -m pytest -n 2 $(ARGS) tests/extras/alone.py

# Every supported Python that is here, the last three minors of temporalio, and the oldest versions that are asked for.
test-versions: engines
	$(BIN)/python -m tests.versions $(ARGS)

# The long forms of what `make test` does in short, each with its figures: 90 minutes on two cores. RUNS are the inputs for
# each fuzz target.
FIGURES := -q -p no:xdist --log-cli-level=INFO
SEALING := */coatcheck/format/envelope.py,*/codecs/aead.py,*/coatcheck/format/reference.py,*/coatcheck/format/wire.py
RUNS ?= 10000000

verify: engines
	@echo '== published vectors, forgeries, swaps, commitment, downgrades, bombs, canary, clocks, cancellation; what they cover'
	mkdir -p build
	COVERAGE_FILE=build/coverage $(BIN)/coverage run --branch --include='$(SEALING)' -m pytest $(FIGURES) tests/published tests/security tests/codecs tests/format/test_envelope.py tests/format/test_reference.py tests/format/test_wire_format.py tests/test_chain.py
	COVERAGE_FILE=build/coverage $(BIN)/coverage report --show-missing --fail-under=100
	@echo '== keys: services, rotation, rekey, shredding, with runs in flight'
	$(BIN)/python -m pytest -q tests/keys tests/integrations/temporal/test_rotation.py tests/integrations/temporal/test_tenant_keys.py tests/integrations/restate/test_tenant_keys.py
	@echo '== faults: of each kind for each store, damage, a slow store inside a workflow task'
	$(BIN)/python -m pytest -q -n 2 tests/pipeline/test_tampering.py tests/storage/test_client.py tests/stores/test_fault_matrix.py tests/stores/test_file_faults.py tests/stores/cached/test_disk.py tests/stores/test_faults_in_temporal.py
	@echo '== faults: 10,000 operations in bad weather, 1,000 writers killed for each store'
	COATCHECK_SOAK_OPERATIONS=10000 COATCHECK_SOAK_KILLS=1000 $(BIN)/python -m pytest $(FIGURES) tests/stores/test_fault_soak.py tests/stores/test_kills.py
	@echo '== several processes, stores and engines, whatever happens: 100,000 steps in memory, 80,000 of one thing at a time, 500 on each real store'
	COATCHECK_MACHINE_STEPS=100000 $(BIN)/python -m pytest $(FIGURES) tests/machine
	@echo '== LangGraph: a worker killed in every step of a turn'
	COATCHECK_LANGGRAPH_KILL_EVERY=1 $(BIN)/python -m pytest $(FIGURES) tests/integrations/langgraph/test_kills.py
	@echo '== retention: 100,000 steps of the state machine, 1,000 races on the real S3 server, 500 workflows on the real Temporal server'
	COATCHECK_SWEEP_STEPS=100000 $(BIN)/python -m pytest $(FIGURES) tests/retention/test_machine.py
	COATCHECK_SWEEP_RACES=1000 $(BIN)/python -m pytest $(FIGURES) -s tests/retention/test_races.py
	COATCHECK_SWEEP_WORKFLOWS=500 $(BIN)/python -m pytest $(FIGURES) tests/integrations/temporal/test_sweep.py -k nothing_else
	@echo '== retention: the protocol, state by state'
	$(BIN)/python -m tests.model.checker
	@echo '== retention: a million objects'
	$(BIN)/python -m benchmarks.sweep --objects 1000000
	@echo '== what sealing costs'
	$(BIN)/python -m benchmarks.sealing
	@echo '== mutants of envelope, sealing and reference'
	$(BIN)/python -m tests.security.mutation
	@echo '== fuzzing'
	$(BIN)/python -m tests.fuzz.run --runs $(RUNS)

# Everything that is measured, on real servers, into benchmarks/results and the README.
bench: engines
	$(BIN)/python -m benchmarks $(ARGS)

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: setup
	$(BIN)/mypy
	$(BIN)/pyright

clean:
	rm -rf $(VENV) dist build
