# Two commands for a new machine: `make demo` shows it working, `make test` proves it.
VENV := .venv
BIN := $(VENV)/bin
LOCAL := $(VENV)/.local
READY := $(VENV)/.ready
NEIGHBOURS := $(VENV)/.neighbours
UV := $(VENV)/lock/bin/uv
COMPILE := UV_CUSTOM_COMPILE_COMMAND="make lock" $(UV) pip compile --quiet --upgrade --universal --generate-hashes --no-annotate

# Tests start hundreds of programs; each would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test-fast test neighbours attack check compose-test chaos bench lock clean

demo: $(LOCAL)  ## the main job, from dataset to verified webhook, on this machine
	$(BIN)/tunehook demo

test-fast: $(READY)  ## unit and integration tests that start no program of ours: about a minute
	$(BIN)/pytest tests/unit tests/integration -m "not processes" --numprocesses 3 --dist worksteal

test: $(READY)  ## all tests, four groups at a time, since most of them wait for processes
	$(BIN)/pytest --numprocesses 4 --dist loadscope --no-loadscope-reorder

neighbours: $(NEIGHBOURS)  ## tests with clients and upstreams that others wrote: Node's SDK, vendors' clients, Prism, aimock
	$(BIN)/pytest tests/compat -o python_files='check_*.py'
	$(BIN)/python -m tests.attack --short

attack: $(NEIGHBOURS)  ## 50,000 random requests, planted secrets, clients that only wait: about half an hour
	$(BIN)/python -m tests.attack

check: $(READY)  ## linters, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

compose-test: $(READY)  ## builds the images, starts the stack as its users do, restarts things: needs Docker
	$(BIN)/python -m tests.e2e.compose.run

chaos: $(READY)  ## kills, faults and clocks at every point of the story: about half an hour
	$(BIN)/python -m tests.chaos --table docs/guarantees-$$(date -u +%F).md

bench: $(READY)  ## each figure beside its plain counterpart, in one run: docs/benchmarks.md
	for name in api upload look up told burst deliveries dataset_check; do $(BIN)/python -m benchmarks.$$name || exit 1; done

lock: $(UV)  ## what the image is built from: the newest versions that pyproject.toml allows, with their hashes
	$(COMPILE) --output-file requirements.lock pyproject.toml
	$(VENV)/lock/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
	| $(COMPILE) --output-file requirements-build.lock -

$(UV):
	python3 -m venv $(VENV)/lock
	$(VENV)/lock/bin/pip install --quiet --disable-pip-version-check 'uv>=0.11'

$(LOCAL): pyproject.toml
	@echo "Installing into $(VENV): about a minute, the first time"
	@python3 -m venv $(VENV) || { echo "python3 cannot make a virtual environment: on Debian, apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[local]'
	@touch $@

$(READY): $(LOCAL)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[local,dev]'
	@touch $@

$(NEIGHBOURS): $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[local,dev,neighbours,attack]'
	@touch $@

clean:
	rm -rf $(VENV) .tunehook .mypy_cache .ruff_cache .pytest_cache
