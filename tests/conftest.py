"""Fixtures that every test may take."""

pytest_plugins = ["tests.contract", "tests.neighbours.valkey"]
