"""The deployment of tests/e2e/surface, with neighbours that others wrote. Run by `make neighbours`."""

import pytest

from tests.compat import node
from tests.e2e.surface.conftest import place, visitor

__all__ = ["place", "visitor"]


@pytest.fixture(scope="session", autouse=True)
def installed() -> None:
    """The npm packages, once."""
    node.install()
