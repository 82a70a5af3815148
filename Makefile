# Two commands for a new machine: `make demo` shows it working, `make test` proves it.
VENV := .venv
BIN := $(VENV)/bin
LOCAL := $(VENV)/.local
READY := $(VENV)/.ready

.PHONY: demo test check clean

demo: $(LOCAL)  ## the main job, from dataset to verified webhook, on this machine
	$(BIN)/tunehook demo

test: $(READY)  ## all tests
	$(BIN)/pytest

check: $(READY)  ## linters, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

$(LOCAL): pyproject.toml
	python3 -m venv $(VENV) || { echo "python3 cannot make a virtual environment: on Debian, apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[local]'
	@touch $@

$(READY): $(LOCAL)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[local,dev]'
	@touch $@

clean:
	rm -rf $(VENV) .tunehook .mypy_cache .ruff_cache .pytest_cache
