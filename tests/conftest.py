"""Fixtures that every test may take."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.contract", "tests.neighbours.valkey"]

# No test here is about time: a machine that is busy with something else must not fail one.
settings.register_profile("tunehook", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tunehook")
