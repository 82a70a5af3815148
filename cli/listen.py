"""`tunehook listen`: forwards webhooks to a server on this machine, and reports what it answered.

The deliveries wait in the running Tunehook until a report of them is noted, so nothing is lost while this machine
sleeps, this command restarts or the server is down. A delivery that was reported is not forwarded again.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from time import time
from typing import Annotated, Any, Literal
from urllib.parse import quote

import httpx2
from cyclopts import App, Parameter

from cli import pull_endpoint
from cli.failures import STILL_RUNNING
from cli.forward import Answer, Target
from cli.job_text import job_path
from cli.lines import clean, say, tell
from cli.options import FOUND, Service, examples
from cli.service_client import ServiceClient, ServiceRefused, ServiceUnreachable
from cli.terminal import print_json, wrapped
from tunehook.errors import TunehookError

#: Forwarded at a time. Each takes 15 s at most, so it is reported before its lease of 30 s ends.
PARALLEL = 8
PAUSE_SECONDS = 1.0
#: A delivery whose next attempt is sooner than this is not made due: it may be on its way.
SOON_SECONDS = 2.0
Style = Literal["line", "body", "json"]
List = list[str]
app = App(
    name="listen",
    help_epilogue=examples(
        "listen --forward-to http://localhost:3000/hooks",
        "listen --forward-to http://localhost:3000/ --once 1 --timeout 60",
    ),
)


@app.default
def run(
    *,
    forward_to: Annotated[str, Parameter(help="URL of your server, such as http://localhost:3000/hooks")],
    name: Annotated[str | None, Parameter(help="of the pull endpoint, one for each listener (default: you)")] = None,
    events: Annotated[List | None, Parameter(help="types such as 'fine_tuning.job.*' (default: a job's ends)")] = None,
    job: Annotated[str | None, Parameter(help="only webhooks about this job; all others stay")] = None,
    header: Annotated[List | None, Parameter(help="further header of each request, NAME:VALUE")] = None,
    since: Annotated[str | None, Parameter(help="also what was given up since, such as 1h")] = None,
    once: Annotated[int | None, Parameter(help="end after so many were answered 2xx")] = None,
    timeout: Annotated[float | None, Parameter(help="end after so many seconds")] = None,
    style: Annotated[Style, Parameter(name="--print", help="line, body or json for each (default: line)")] = "line",
    insecure: Annotated[bool, Parameter(help="do not verify the server's certificate")] = False,
    service: Service = FOUND,
) -> int:
    """Forward webhooks to a server on this machine, and report what it answered.

    Nothing is lost while this command or the server is away. The secret stays the same: it is printed when the
    endpoint is created, and never again.

    Exit status: 0 done, 3 --timeout before --once was reached, 130 Ctrl-C.
    """
    back = pull_endpoint.seconds_of(since) if since else None
    name = name or pull_endpoint.default_name()
    with ServiceClient.from_arguments(service) as client, Target(forward_to, header or [], verify=not insecure) as to:
        if job is not None:
            client.get(job_path(job))
        endpoint = pull_endpoint.find_or_create(client, name, events or [])
        if back is not None:
            pull_endpoint.recover(client, endpoint["id"], back)
        waiting = pull_endpoint.greet(client, endpoint, name, job)
        listener = Listener(client, endpoint["id"], to, style, once, job)
        return listener.run(timeout, waiting)


class Listener:
    """Reads the endpoint's stream in one thread, forwards in others; `run` waits for them."""

    def __init__(
        self, client: ServiceClient, endpoint_id: str, target: Target, style: Style, once: int | None, job: str | None
    ) -> None:
        self._client, self._target, self._style, self._once = client, target, style, once
        self._path = f"/webhook_endpoints/{endpoint_id}/stream?limit={min(PARALLEL, once or PARALLEL)}"
        self._path += f"&job={quote(job)}" if job else ""
        self._pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="forward")
        self._lock = threading.Lock()
        self._in_hand: set[str] = set()
        self._reported: dict[str, int] = {}  #: delivery → the attempt that was noted last
        self._refused: dict[str, float] = {}  #: delivery that found no server → its next attempt, unix seconds
        self._taken = 0  #: were answered 2xx
        self._over = threading.Event()
        self._failure: TunehookError | None = None

    def run(self, timeout: float | None, waiting: Iterable[dict[str, Any]]) -> int:
        """Listens until `once` were taken, or `timeout` seconds; returns the exit status. Ends what is in hand."""
        for one in waiting:
            if one["attempt_count"] and one["last_status_code"] is None:
                self._refused[one["id"]] = one["next_attempt_at"] or 0.0
        for work in (self._read, self._watch):
            threading.Thread(target=work, daemon=True).start()
        try:
            ended = self._over.wait(timeout)
        finally:
            self._over.set()
            self._pool.shutdown()
        if self._failure is not None:
            raise self._failure
        if ended or self._once is None:
            return 0
        say(f"{self._taken} of {self._once} webhooks came within {timeout:g} s.")
        return STILL_RUNNING

    def _read(self) -> None:
        last, away = "", False
        while not self._over.is_set():
            headers = {"accept": "text/event-stream"} | ({"last-event-id": last} if last else {})
            try:
                with self._client.opened("GET", self._path, headers=headers) as stream:
                    if away:
                        say("connected again")
                    away = False
                    for event in httpx2.EventSource(stream):
                        self._take(json.loads(event.data))
                        last = event.id
            except ServiceUnreachable as error:
                if not away:
                    say(f"{error} Trying again; nothing is lost.")
                away = True
            except ServiceRefused as refused:
                if refused.code == "invalid_value" and last:  # it has expired
                    last = ""
                elif refused.status < 500 and refused.status != 429:
                    self._failure = refused
                    self._over.set()
            self._over.wait(PAUSE_SECONDS)

    def _take(self, item: dict[str, Any]) -> None:
        """Begins to forward a delivery, unless that is done already."""
        with self._lock:
            known = item["id"] in self._in_hand or item["attempt"] <= self._reported.get(item["id"], 0)
            enough = self._once is not None and self._taken + len(self._in_hand) >= self._once
            if known or enough or self._over.is_set():
                return
            self._in_hand.add(item["id"])
            self._refused.pop(item["id"], None)
        with suppress(RuntimeError):  # the pool ends
            self._pool.submit(self._forward, item)

    def _forward(self, item: dict[str, Any]) -> None:
        answer = self._target.post(item["headers"], item["body"].encode())
        noted = self._report(item["id"], answer)
        with self._lock:
            self._in_hand.discard(item["id"])
            if noted is not None:
                self._reported[item["id"]] = noted["attempt_count"]
                if answer.refused and noted["next_attempt_at"]:
                    self._refused[item["id"]] = noted["next_attempt_at"]
            self._taken += answer.ok
            self._show(item, answer, noted)
            if self._once is not None and self._taken >= self._once:
                self._over.set()

    def _report(self, delivery_id: str, answer: Answer) -> dict[str, Any] | None:
        """Reports until it is noted; returns the delivery, or None if another has ended it."""
        while True:
            try:
                return self._client.post_idempotent(f"/deliveries/{delivery_id}/attempts", answer.report())
            except (ServiceUnreachable, ServiceRefused) as error:
                final = isinstance(error, ServiceRefused) and error.status < 500 and error.status != 429
                if final or self._over.is_set():
                    say(f"{delivery_id}: the answer was not noted: {error}")
                    return None
            self._over.wait(PAUSE_SECONDS)

    def _watch(self) -> None:
        """Once the target listens again, makes due what it refused: a retry may be hours away."""
        while not self._over.wait(PAUSE_SECONDS):
            with self._lock:
                refused = dict(self._refused)
            if not refused or not self._target.listens():
                continue
            for delivery_id, at in refused.items():
                with self._lock:
                    mine = self._refused.pop(delivery_id, None) is not None
                if mine and at > time() + SOON_SECONDS:
                    with suppress(ServiceUnreachable, ServiceRefused):
                        self._client.post_idempotent(f"/deliveries/{delivery_id}/redeliver", {})

    def _show(self, item: dict[str, Any], answer: Answer, noted: dict[str, Any] | None) -> None:
        if self._style == "json":
            next_at = noted["next_attempt_at"] if noted else None
            tell(json.dumps({**item, "answer": answer.report(), "next_attempt_at": next_at}))
            return
        clock = datetime.now().astimezone().strftime("%H:%M:%S")
        words = "" if answer.ok or noted is None else f"; {_next(noted, refused=answer.refused)}"
        row = f"{clock}  {item['event_type']}  {item['event_id']}  {item['job_id'] or '-'}  → {answer.words()}{words}"
        tell(wrapped(clean(row), indent=len(clock) + 2))
        if self._style == "body":
            print_json(json.loads(item["body"]))


def _next(delivery: dict[str, Any], *, refused: bool) -> str:
    """Returns in words when a delivery that failed is sent again."""
    at = delivery["next_attempt_at"]
    if delivery["state"] != "pending" or at is None:
        return f"given up; tunehook deliveries redeliver {delivery['id']} sends it again"
    clock = datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")
    early = "when it does, or " if refused else ""
    return f"sent again {early}at {clock}, as attempt {delivery['attempt_count'] + 1}"
