# Two commands for a new machine: `make demo` shows it working, `make test` proves it.
VENV := .venv
BIN := $(VENV)/bin
LOCAL := $(VENV)/.local
READY := $(VENV)/.ready
NEIGHBOURS := $(VENV)/.neighbours
PAGE := $(VENV)/.page
# What trains takes 1.5 GB: an environment of its own.
TRAINER := .venv-trainer
UV := $(VENV)/lock/bin/uv
COMPILE := UV_CUSTOM_COMPILE_COMMAND="make lock" $(UV) pip compile --quiet --upgrade --universal --generate-hashes --no-annotate

# torch comes from PyTorch's CPU index, before the rest; the others are what its build on PyPI needs.
NOT_ON_CPU := torch cuda-bindings cuda-pathfinder cuda-toolkit nvidia-cublas nvidia-cuda-cupti nvidia-cuda-nvrtc \
    nvidia-cuda-runtime nvidia-cudnn-cu13 nvidia-cufft nvidia-cufile nvidia-curand nvidia-cusolver nvidia-cusparse \
    nvidia-cusparselt-cu13 nvidia-nccl-cu13 nvidia-nvjitlink nvidia-nvshmem-cu13 nvidia-nvtx triton

# Tests start hundreds of programs; each would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-trained test-fast test neighbours attack page-ready page-test pictures trainer-ready trainer-test check compose-test chaos bench lock clean

demo: $(LOCAL)  ## the main job, from dataset to verified webhook, on this machine
	$(BIN)/tunehook demo

test-fast: $(READY)  ## unit and integration tests that start no program of ours: about a minute
	$(BIN)/pytest tests/unit tests/integration -m "not processes" --numprocesses 3 --dist worksteal

test: $(READY)  ## all tests, six groups at a time, since most of them wait for processes
	$(BIN)/pytest --numprocesses 6 --dist loadscope --no-loadscope-reorder

demo-trained: $(TRAINER)/.ready  ## a tiny model, made and trained on this machine, before and after
	$(TRAINER)/bin/tunehook trainer demo

trainer-ready: $(TRAINER)/.ready  ## the trainer's own environment, with torch

trainer-test: $(TRAINER)/.ready  ## the training itself, with torch on the CPU: labels, kills, pauses, answers by heart
	OMP_NUM_THREADS=1 $(TRAINER)/bin/pytest tests/trainer -o python_files='check_*.py' -o filterwarnings=default -o timeout=1200 \
	--numprocesses 2 --dist loadfile

neighbours: $(NEIGHBOURS)  ## tests with others' programs: Node's SDK, vendors' clients, Prism, aimock, Sentinel
	$(BIN)/pytest tests/compat tests/chaos/check_failover.py -o python_files='check_*.py'
	$(BIN)/python -m tests.attack --short

attack: $(NEIGHBOURS)  ## 50,000 random requests, planted secrets, clients that only wait: about half an hour
	$(BIN)/python -m tests.attack

page-ready: $(PAGE)  ## Playwright and, through apt, Chromium
	$(BIN)/python -m tests.page.chromium

page-test: page-ready  ## the page in Chromium, before the real stack: the main job, axe, keyboard, cuts, phones
	$(BIN)/pytest tests/page -o python_files='check_*.py'

pictures: page-ready  ## docs/pictures/: every view, light, dark and on a phone
	$(BIN)/python -m tests.page.pictures

check: $(READY)  ## linters, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

compose-test: $(READY)  ## builds the images, starts the stack as its users do, restarts things: needs Docker
	$(BIN)/python -m tests.e2e.compose.run

chaos: $(READY)  ## kills, faults and clocks at every point of the story: about half an hour
	$(BIN)/python -m tests.chaos --table docs/guarantees-$$(date -u +%F).md

bench: $(READY)  ## each figure beside its plain counterpart: docs/benchmarks.md, on a quiet machine alone
	$(BIN)/python -m benchmarks

lock: $(UV)  ## what the image is built from: the newest versions that pyproject.toml allows, with their hashes
	$(COMPILE) --extra otel --extra s3 --output-file requirements.lock pyproject.toml
	$(VENV)/lock/bin/python -c 'import tomllib; found = tomllib.load(open("pyproject.toml", "rb")); \
	wheel = found["tool"]["hatch"]["build"]["targets"]["wheel"]; \
	print(*found["build-system"]["requires"], *wheel["hooks"]["custom"]["node"], sep="\n")' \
	| $(COMPILE) --output-file requirements-build.lock -
	$(COMPILE) --extra trainer $(NOT_ON_CPU:%=--no-emit-package %) --output-file requirements-trainer-cpu.lock pyproject.toml
	$(COMPILE) --extra trainer-cuda --output-file requirements-trainer-cuda.lock pyproject.toml

$(UV):
	python3 -m venv $(VENV)/lock
	$(VENV)/lock/bin/pip install --quiet --disable-pip-version-check 'uv>=0.11'

$(LOCAL): pyproject.toml service/page/package.json service/page/package-lock.json
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

$(PAGE): $(READY)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[local,dev,page]'
	@touch $@

# The CPU build first: pip would take gigabytes of CUDA. PyPI has none; macOS has no other build.
$(TRAINER)/.ready: pyproject.toml
	@echo "Installing into $(TRAINER): 1.5 GB, some minutes, the first time"
	@python3 -m venv $(TRAINER)
	@$(TRAINER)/bin/pip install --quiet --disable-pip-version-check torch==2.13.0+cpu 2>/dev/null \
	|| $(TRAINER)/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
	$(TRAINER)/bin/pip install --quiet --disable-pip-version-check --editable '.[local,dev,trainer]'
	@touch $@

clean:
	rm -rf $(VENV) $(TRAINER) .tunehook .mypy_cache .ruff_cache .pytest_cache
