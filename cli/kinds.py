"""Kinds of objects of the API: where one is, how it is printed, and commands that take ids alone."""

# Without `from __future__ import annotations`: Cyclopts would not find the variables of a function in a text.
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from cyclopts import App, Parameter

from cli.failures import AskedWrongly
from cli.job_text import Object
from cli.lines import say
from cli.options import FOUND, Service, examples
from cli.service_client import ServiceClient, each
from cli.terminal import PLAIN, Cells, Shape, print_list, print_one


@dataclass(frozen=True)
class Kind:
    """`path`: of an object by its id, and of what lies below it. `facts`, `row`: what is printed below `head`."""

    noun: str
    path: Callable[..., str]
    head: Sequence[str]
    row: Callable[[Object], Cells]
    facts: Callable[[Object], Mapping[str, object]] = dict

    def print(self, one: Object, shape: Shape) -> None:
        print_one(one, self.facts(one), shape)

    def print_list(self, found: Sequence[Object], shape: Shape, none: str = "") -> None:
        """Prints objects. `none`: what is said where there are none."""
        print_list(self.head, found, map(self.row, found), shape)
        if none and not found:
            say(none)

    def show(self, app: App, about: str, *lines: str) -> None:
        """Adds a command that prints an object. `lines`: examples."""
        self._of_one(
            app, "show", about, lines, lambda client, shape, id_: self.print(client.get(self.path(id_)), shape)
        )

    def do(self, app: App, verb: str, about: str, *lines: str) -> None:
        """Adds a command that posts `verb` to an object, once or more often with one effect, and prints the object."""

        def _call(client: ServiceClient, shape: Shape, id_: str) -> None:
            self.print(client.post_idempotent(self.path(id_, verb), {}), shape)

        self._of_one(app, verb, about, lines, _call)

    def below(self, app: App, what: str, about: str, printed: "Kind", *lines: str) -> None:
        """Adds a command that lists what lies below an object, such as its deliveries."""

        def _call(client: ServiceClient, shape: Shape, id_: str) -> None:
            printed.print_list(list(client.pages(self.path(id_, what))), shape)

        self._of_one(app, what, about, lines, _call)

    def _of_one(
        self, app: App, name: str, about: str, lines: Sequence[str], call: Callable[[ServiceClient, Shape, str], None]
    ) -> None:
        named = Parameter(name=self.noun, help="its id")

        def run(id_: Annotated[str, named], /, *, shape: Shape = PLAIN, service: Service = FOUND) -> None:
            with ServiceClient.from_arguments(service) as client:
                call(client, shape, id_)

        app.command(run, name=name, help=about, help_epilogue=examples(*lines))

    def do_each(self, app: App, verb: str, about: str, *lines: str, idempotent: bool = False) -> None:
        """Adds a command that posts `verb` to each of some objects, and goes on after one that was refused."""
        named = Parameter(name=self.noun, help="their ids")

        def run(*ids: Annotated[str, named], shape: Shape = PLAIN, service: Service = FOUND) -> int:
            if not ids:
                raise AskedWrongly(why=f"Name a {self.noun}: tunehook {lines[0].replace('Ab12', '…')}")
            with ServiceClient.from_arguments(service) as client:
                send = client.post_idempotent if idempotent else client.post
                found, status = each(ids, lambda id_: send(self.path(id_, verb), {}))
            self.print_list(found, shape)
            return status

        app.command(run, name=verb, help=about, help_epilogue=examples(*lines))
