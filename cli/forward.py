"""Posts webhooks to a server on this machine, with the headers and the bytes that they came with."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import httpx2

from cli.failures import AskedWrongly

#: As where Tunehook sends webhooks itself.
ATTEMPT_SECONDS = 15.0
ANSWER_BYTES = 2048
#: More is refused in a report.
RETRY_AFTER_CHARACTERS = 100


@dataclass(frozen=True)
class Answer:
    """What became of one POST. `error`: why there was no answer. `refused`: nothing listens there."""

    started_at: float
    duration_ms: float
    status_code: int | None = None
    response_body: str | None = None
    retry_after: str | None = None
    error: str | None = None
    refused: bool = False

    @property
    def ok(self) -> bool:
        return self.status_code is not None and 200 <= self.status_code <= 299

    def words(self) -> str:
        return self.error or f"{self.status_code}  {self.duration_ms:.0f} ms"

    def report(self) -> dict[str, Any]:
        """Returns the body of `POST /v1/deliveries/{id}/attempts`."""
        members = {name: value for name, value in vars(self).items() if value is not None}
        del members["refused"]
        return members


class Target:
    """Where webhooks go. Safe to use from several threads."""

    def __init__(self, url: str, headers: Sequence[str] = (), *, verify: bool = True) -> None:
        try:
            self._url = httpx2.URL(url)
        except httpx2.InvalidURL as error:
            raise AskedWrongly(why=f"--forward-to {url}: {error}.") from error
        if self._url.scheme not in ("http", "https") or not self._url.host:
            raise AskedWrongly(why=f"--forward-to {url}: write a whole URL, such as http://localhost:3000/hooks.")
        self._headers = dict(_header(text) for text in headers)
        self._http = httpx2.Client(verify=verify, trust_env=False, timeout=ATTEMPT_SECONDS)
        self._http.headers.clear()
        self.port = self._url.port or (443 if self._url.scheme == "https" else 80)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self._http.close()

    def post(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Sends one webhook. Raises nothing that the target does."""
        at, begun = round(time.time(), 3), time.monotonic()
        found: dict[str, Any] = {}
        try:
            with self._http.stream("POST", self._url, content=body, headers={**headers, **self._headers}) as answer:
                beginning = _beginning(answer, begun + ATTEMPT_SECONDS)
            found = {"status_code": answer.status_code, "response_body": beginning or None}
            found["retry_after"] = answer.headers.get("retry-after", "")[:RETRY_AFTER_CHARACTERS] or None
        except httpx2.ConnectError as error:
            why = f"refused: nothing listens on port {self.port}"
            found = {"error": why if "refused" in str(error) else f"no connection: {error}"[:900], "refused": True}
        except httpx2.TimeoutException:
            found = {"error": f"no answer within {ATTEMPT_SECONDS:.0f} s"}
        except httpx2.HTTPError as error:
            found = {"error": f"no answer: {str(error) or type(error).__name__}"[:900]}
        return Answer(at, round((time.monotonic() - begun) * 1000, 1), **found)

    def listens(self) -> bool:
        """Tells whether a connection can be made."""
        try:
            socket.create_connection((self._url.host, self.port), timeout=2).close()
        except OSError:
            return False
        return True


def _beginning(answer: httpx2.Response, until: float) -> str:
    """Returns what an answer begins with. Its charset is not trusted: it may name a codec that is none of text."""
    found = b""
    for piece in answer.iter_bytes(ANSWER_BYTES):
        found += piece
        if len(found) >= ANSWER_BYTES:
            break
        if time.monotonic() > until:
            raise httpx2.ReadTimeout("the answer did not end")
    return found[:ANSWER_BYTES].decode(errors="replace")


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise AskedWrongly(why=f"--header {text}: write NAME:VALUE.")
    return name.strip(), value.strip()
