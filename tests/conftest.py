"""Fixtures that every test may take."""

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.contract", "tests.neighbours.valkey"]

# No test here is about time: a machine that is busy with something else must not fail one.
settings.register_profile("tunehook", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tunehook")

#: They wait for leases, deadlines and processes: begun first, they end while the others use the CPU.
#: Left to the end, they took two of five minutes with the machine idle.
LONGEST = (
    "chaos/test_short.py",
    "chaos/test_redis_away.py",
    "chaos/test_doctor.py",
    "chaos/test_starts_and_stops.py",
    "chaos/test_two_versions.py",
    "surface/test_following.py",
    "cli/test_commands.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        return next((n for n, name in enumerate(LONGEST) if item.nodeid.startswith(f"tests/{name}")), len(LONGEST))

    items.sort(key=place)
