"""`tunehook open`: opens the page of the running Tunehook in a browser."""

from __future__ import annotations

import webbrowser
from typing import Annotated

from cyclopts import App, Parameter

from cli.failures import CommandFailed
from cli.options import FOUND, Service, examples
from cli.service_client import ServiceClient
from cli.terminal import is_terminal, say

app = App(name="open", help_epilogue=examples("open --print", "open --print --url http://127.0.0.1:8080"))


class NoPage(CommandFailed):
    """Tunehook has no page of a job yet. `tunehook jobs show {job}` shows it here."""


@app.default
def open_page(
    job: str | None = None,
    /,
    *,
    only_print: Annotated[bool, Parameter(name="--print")] = False,
    service: Service = FOUND,
) -> int:
    """Open the page of the API in a browser, and print its address.

    Args:
        job: a job's id; there is no page of a job yet
        only_print: print the address, and open nothing
    """
    if job:
        raise NoPage(job=job)
    with ServiceClient.from_arguments(service) as client:
        address = f"{client.url}/docs"
    print(address)
    if not only_print and is_terminal() and not webbrowser.open(address):
        say("No browser was found: open the address above.")
    return 0
