"""Reads event streams of the API, and goes on after a cut, so that no event is missed."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import httpx2

from cli.failures import TRY_AGAIN, CommandFailed
from cli.lines import say
from cli.service_client import ServiceClient

#: Between two tries of a stream that was cut off, and so many in a row: Tunehook may be away for two minutes.
AGAIN_SECONDS, TRIES = 1.0, 120


def events(
    client: ServiceClient, path: str, *, again: float = AGAIN_SECONDS, over: threading.Event | None = None
) -> Iterator[httpx2.ServerSentEvent]:
    """Yields the events of a stream until the API says that it is over, or `over` is set.

    Raises ServiceRefused, and ServiceUnreachable after two minutes of it.
    """
    over = over or threading.Event()
    last, failed = "", 0
    while True:
        headers = {"accept": "text/event-stream"} | ({"last-event-id": last} if last else {})
        try:
            with client.opened("GET", path, headers=headers) as answer:
                if answer.status_code == 204:
                    return
                failed = 0
                for event in httpx2.EventSource(answer):
                    if event.data:
                        last = event.id or last
                        yield event
        except CommandFailed as cut:
            failed += 1
            if cut.exit_status != TRY_AGAIN or failed > TRIES:
                raise
            if failed == 1 and not over.is_set():
                say(f"{cut} Asking again.")
        if over.wait(again):
            return
