"""`tunehook open`: opens the page of the running Tunehook in a browser."""

from __future__ import annotations

import webbrowser
from typing import Annotated
from urllib.parse import quote

from cyclopts import App, Parameter

from cli.lines import say, tell
from cli.options import FOUND, Service, examples
from cli.service_client import ServiceClient
from cli.terminal import is_terminal

app = App(name="open", help_epilogue=examples("open --print", "open ftjob-Ab12 --no-key --print"))


def page_address(url: str, key: str | None, job: str | None = None) -> str:
    """Returns the page's address at a Tunehook, with its key in the fragment, which no browser sends.

    The page takes the key out of the address bar. Without a key it asks for one.
    """
    view = f"/jobs/{quote(job, safe='')}" if job else "/jobs"
    if key is None:
        return f"{url}/#{view}"
    return f"{url}/#key={key}" + (f"&to={view}" if job else "")


@app.default
def open_page(
    job: str | None = None,
    /,
    *,
    only_print: Annotated[bool, Parameter(name="--print")] = False,
    no_key: Annotated[bool, Parameter(negative="")] = False,
    service: Service = FOUND,
) -> int:
    """Open the page in a browser, at the list of jobs or at one, and print its address.

    The address has the key behind `#key=`: give it only to people who may use the key.

    Args:
        job: a job's id
        only_print: print the address, and open nothing
        no_key: leave the key out: the page asks for one
    """
    with ServiceClient.from_arguments(service) as client:
        address = page_address(client.url, None if no_key else client.key, job)
    tell(address)
    if not only_print and is_terminal() and not webbrowser.open(address):
        say("No browser was found: open the address above.")
    return 0
