"""Every exception is in the table that turns it into HTTP, and in the tree of tunehook/errors.py."""

import importlib
import pkgutil
import re
from collections.abc import Iterator

import pytest

import service
import tunehook
from service.error_responses import NOT_HTTP, TABLE, row_of
from tunehook import errors
from tunehook.errors import Conflict, TunehookError


def all_errors() -> list[type[TunehookError]]:
    for package in (tunehook, service):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    return sorted(set(_below(TunehookError)), key=lambda kind: kind.__qualname__)


def _below(kind: type[TunehookError]) -> Iterator[type[TunehookError]]:
    for found in kind.__subclasses__():
        if found.__module__.startswith(("tunehook", "service")):
            yield found
            yield from _below(found)


LEAVES = [kind for kind in all_errors() if not any(_below(kind))]


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_every_error_has_a_row_or_is_never_an_answer(kind: type[TunehookError]) -> None:
    never = any(base in NOT_HTTP for base in kind.__mro__)
    assert (row_of(kind) is not None) != never


@pytest.mark.parametrize("kind", LEAVES, ids=lambda kind: kind.__name__)
def test_every_error_says_something(kind: type[TunehookError]) -> None:
    assert kind.__doc__
    assert kind.__doc__ != TunehookError.__doc__


@pytest.mark.parametrize(("kind", "row"), TABLE.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_rows_are_statuses_that_clients_understand(kind: type[TunehookError], row: tuple[int, str, str | None]) -> None:
    status, category, code = row
    assert 400 <= status < 500 or status in (500, 502, 503)
    assert category == "invalid_request_error" if status < 500 else category in ("server_error", "upstream_error")
    assert code is None or re.fullmatch(r"[a-z_]+", code)


def test_every_conflict_has_the_same_row() -> None:
    """A 409 that says to retry; SDKs are told not to do so by themselves."""
    assert {row_of(kind) for kind in _below(Conflict)} == {TABLE[Conflict]}


def test_the_tree_in_the_docstring_shows_every_class() -> None:
    assert errors.__doc__
    tree = errors.__doc__.partition("\n\n")[2]
    shown: dict[str, int] = {}
    for line in tree.splitlines():
        drawn = re.match(r"[│├└─ ]*", line)
        assert drawn is not None
        names = re.match(r"\w+(, \w+)*", line[drawn.end() :])
        assert names, line
        shown |= {name: drawn.end() // 4 for name in names[0].split(", ")}
    there = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
    classes = {name: kind for name, kind in there.items() if issubclass(kind, TunehookError)}
    assert shown == {name: len(kind.__mro__) - len(TunehookError.__mro__) for name, kind in classes.items()}
