"""Fixtures that every test may take."""

import gc
from importlib.util import find_spec
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

# `make page-test` installs Playwright, and runs these.
collect_ignore = [] if find_spec("playwright") else ["page"]
pytest_plugins = ["tests.contract.checker", "tests.fakes.valkey"]

# Deadlines are off: a busy machine must not fail a test.
settings.register_profile("tunehook", deadline=None, suppress_health_check=[HealthCheck.too_slow])

settings.load_profile("tunehook")

# Collecting makes a million objects and hardly any garbage: 0.4 s of CPU in each process.
gc.disable()

#: These wait for leases, deadlines and processes. Begun first, they overlap with tests that use the CPU; at the end
#: they took two of five minutes with the machine idle.
LONGEST = (
    "e2e/story/",
    "e2e/crashes/test_two_versions.py",
    "e2e/crashes/test_upgrade.py",
    "chaos/test_short.py",
    "e2e/crashes/test_vendors.py",
    "e2e/cli/test_commands.py",
    "e2e/worker/test_redis_restart.py",
    "e2e/surface/",
    "chaos/test_redis_away.py",
    "e2e/crashes/",
    "e2e/datasets/",
    "e2e/",
    "contract/upstreams/",
    "integration/service/test_backup.py",
)
#: One deployment serves all files of a package; starting one costs 6 s of CPU.
TOGETHER = ("e2e/story/", "e2e/surface/", "e2e/datasets/")
#: Long tests that share nothing within their file: each goes to the next process that is free.
APART = (
    "e2e/crashes/test_starts_and_stops.py",
    "e2e/crashes/test_vendors.py",
    "integration/service/test_backup.py",
    "contract/upstreams/test_every_kind.py",
)


class Together(LoadScopeScheduling):  # type: ignore[misc]
    """Keeps a file, or a package that shares a deployment, in one process. Tests in APART are balanced one by one."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(tuple(f"tests/{name}" for name in APART)):
            return nodeid
        return next((name for name in TOGETHER if nodeid.startswith(f"tests/{name}")), nodeid.partition("::")[0])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together | None:
    """Returns Together for `--dist loadscope`. `make test-fast` shares no deployments and balances test by test."""
    return Together(config, log) if config.getvalue("dist") == "loadscope" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def _place(item: pytest.Item) -> int:
        return next((n for n, name in enumerate(LONGEST) if item.nodeid.startswith(f"tests/{name}")), len(LONGEST))

    items.sort(key=_place)


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()
