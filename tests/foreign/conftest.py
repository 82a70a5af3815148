"""The deployment of tests/surface, with neighbours that others wrote. Run by `make neighbours`."""

import pytest

from tests.foreign import node
from tests.surface.conftest import place, visitor

__all__ = ["place", "visitor"]


@pytest.fixture(scope="session", autouse=True)
def installed() -> None:
    """The npm packages, once."""
    node.install()
