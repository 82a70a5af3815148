"""The terminal with the Cyclopts that Together's client allows: 4, where all other tests have 5."""

import pkgutil
from importlib import import_module

import cyclopts
import pytest

import cli

MODULES = [found.name for found in pkgutil.iter_modules(cli.__path__)]


def test_this_is_the_older_one() -> None:
    assert cyclopts.__version__.startswith("4.")


@pytest.mark.parametrize("name", MODULES)
def test_each_module_loads(name: str) -> None:
    import_module(f"cli.{name}")
