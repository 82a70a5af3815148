"""A small client of a running Tunehook's API, for commands.

The URL and the key are found in this order:

    --url, --key                         the command's own arguments
    OPENAI_BASE_URL, OPENAI_API_KEY      if that key is one of Tunehook's (`th_…`), as `tunehook up` prints them
    TUNEHOOK_BOOTSTRAP_KEY               with TUNEHOOK_HOST and TUNEHOOK_PORT
    the data directory of `tunehook up`  with TUNEHOOK_HOST and TUNEHOOK_PORT
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import httpx2

from cli.failures import FAILED, NO_KEY, TRY_AGAIN, CommandFailed
from cli.lines import say
from cli.options import Service, given
from tunehook import settings
from tunehook.model.api_key import KEY_FORM
from tunehook.security.tls import ssl_context

#: An import or a create may wait for an upstream's answer for 25 s.
CALL_SECONDS = 90.0
#: Pauses between the attempts of a call that may be repeated.
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
#: `Retry-After` is honoured up to this.
LONGEST_PAUSE = 30.0
#: Too many requests, a store or an upstream that does not answer: a repeated call may succeed.
_AGAIN = frozenset({429, 502, 503, 504})


class NoAccess(CommandFailed):
    """No {what} is known. Give {option}, or set OPENAI_BASE_URL and OPENAI_API_KEY as `tunehook up` prints them."""

    exit_status = NO_KEY


class ServiceUnreachable(CommandFailed):
    """Tunehook at {url} does not answer: {why}. Start it, or give another --url."""

    exit_status = TRY_AGAIN


class ServiceRefused(CommandFailed):
    """{why}"""

    @property
    def exit_status(self) -> int:  # type: ignore[override]
        if self.status in (401, 403):
            return NO_KEY
        return TRY_AGAIN if self.status in _AGAIN else FAILED

    @property
    def status(self) -> int:
        return int(self.fields["status"])

    @property
    def code(self) -> str | None:
        """The API's error code, such as `job_taken`."""
        code = self.fields.get("code")
        return str(code) if code else None


class ServiceClient:
    """A synchronous client and context manager. `url`: with or without `/v1`. `key`: `th_…`.

    Every method raises ServiceRefused for an error answer, with its `status` and `code`, and ServiceUnreachable.
    """

    def __init__(self, url: str, key: str, *, pauses: tuple[float, ...] = PAUSES) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self.key = key
        self._pauses = pauses
        self._http = httpx2.Client(
            headers={"authorization": f"Bearer {key}", "user-agent": "tunehook-cli"},
            timeout=httpx2.Timeout(CALL_SECONDS, connect=5.0),
            verify=ssl_context(),
        )

    @classmethod
    def from_arguments(cls, args: Service) -> Self:
        """Opens a client by --url and --key, the environment, or the data directory. Raises NoAccess."""
        found = settings.load()
        own = found.openai_api_key.get_secret_value() if found.openai_api_key and found.has_own_key_for_openai else None
        here = args.url is None or _is_here(args.url, found.port)  # this machine's keys go to no other address
        bootstrap = found.bootstrap_key.get_secret_value() if found.bootstrap_key else None
        key = args.key or own or ((bootstrap or _kept_key(found)) if here else None)
        if not key or not KEY_FORM.fullmatch(key):
            raise NoAccess(what="API key of Tunehook (th_…)", option="--key")
        # Without OPENAI_BASE_URL that setting is OpenAI's own address, which is to see no key of ours.
        said = found.openai_base_url if own and found.openai_base_url != settings.OPENAI_BASE_URL else None
        url = args.url or said
        return cls(url or f"http://{found.host}:{found.port}", key)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self._http.close()

    def get(self, path: str, **params: str | int | None) -> dict[str, Any]:
        """Returns the object at a path such as `/fine_tuning/jobs/ftjob-1`. Repeated while Tunehook is away or busy."""
        return self._call("GET", path, params=params, pauses=self._pauses)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Sends a POST, once: its outcome is unknown when no answer comes."""
        return self._call("POST", path, body=body, pauses=())

    def post_idempotent(
        self, path: str, body: Mapping[str, Any], key: str | None = None, *, seconds: float = CALL_SECONDS
    ) -> dict[str, Any]:
        """Sends a POST that may be repeated without a second effect, as an import; repeated like a GET.

        `key`: the Idempotency-Key that makes it so, where one is needed. `seconds`: how long an answer may take.
        """
        headers = {"idempotency-key": key} if key else None
        return self._call("POST", path, body=body, headers=headers, pauses=self._pauses, seconds=seconds)

    def post_part(self, path: str, content: bytes) -> dict[str, Any]:
        """Adds a part to an upload. Repeated like a GET: a part that is sent twice is joined once."""
        return self._call("POST", path, part=content, pauses=self._pauses)

    def delete(self, path: str) -> dict[str, Any]:
        """Sends a DELETE, once."""
        return self._call("DELETE", path, pauses=())

    def upload(self, path: Path) -> dict[str, Any]:
        """Uploads a file for training; returns its object. Raises OSError as well."""
        with path.open("rb") as file:
            purpose, files = {"purpose": "fine-tune"}, {"file": (path.name, file)}
            try:
                return self._object(self._http.post(f"{self.url}/v1/files", data=purpose, files=files))
            except httpx2.HTTPError as error:
                raise ServiceUnreachable(url=self.url, why=str(error) or type(error).__name__) from error

    @contextmanager
    def opened(
        self, method: str, path: str, *, body: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[httpx2.Response]:
        """Opens an answer that is read as it comes: a file, or a stream of events."""
        try:
            with self._http.stream(method, f"{self.url}/v1{path}", json=body, headers=headers) as answer:
                if not answer.is_success:
                    answer.read()
                    self._object(answer)
                yield answer
        except httpx2.HTTPError as error:
            raise ServiceUnreachable(url=self.url, why=str(error) or type(error).__name__) from error

    def pages(self, path: str, **params: str | int | None) -> Iterator[dict[str, Any]]:
        """Yields every object of an OpenAI list, page by page by `after`."""
        after: str | None = None
        while True:
            page = self.get(path, **{"limit": 100, **params, **({"after": after} if after else {})})
            rows = page.get("data") or []
            yield from rows
            last = str(page.get("last_id") or (rows[-1]["id"] if rows else ""))
            if not page.get("has_more") or not last or last == after:
                return
            after = last

    def _call(
        self,
        method: str,
        path: str,
        *,
        pauses: tuple[float, ...],
        params: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        part: bytes | None = None,
        seconds: float = CALL_SECONDS,
    ) -> dict[str, Any]:
        sent: dict[str, Any] = {"headers": headers, "timeout": httpx2.Timeout(seconds, connect=5.0)}
        sent |= {"json": body} if part is None else {"files": {"data": ("part", part)}}
        query = given(params or {})
        for pause in (*pauses, None):
            asked = 0.0
            try:
                answer = self._http.request(method, f"{self.url}/v1{path}", params=query, **sent)
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                if pause is None or isinstance(error, httpx2.InvalidURL | httpx2.UnsupportedProtocol):
                    raise ServiceUnreachable(url=self.url, why=str(error) or type(error).__name__) from error
            else:
                spent = answer.headers.get("x-should-retry") == "false"  # a budget, or another limit of the project
                if pause is None or spent or answer.status_code not in _AGAIN:
                    return self._object(answer)
                asked = _retry_after(answer)
            time.sleep(max(pause, asked))
        raise AssertionError(method)

    def _object(self, answer: httpx2.Response) -> dict[str, Any]:
        value: object = None
        with suppress(ValueError):
            value = answer.json()
        if answer.is_success and isinstance(value, dict):
            return value
        error = value.get("error") if isinstance(value, dict) else None
        if not isinstance(error, dict):
            error = {"message": f"{self.url} answered {answer.status_code}, and not as a Tunehook does. Is it one?"}
        raise ServiceRefused(why=error.get("message"), status=answer.status_code, code=error.get("code"))


def each(ids: Sequence[str], call: Callable[[str], dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """Calls for each id, and goes on after one that was refused, which is said; returns the objects and the status."""
    found, status = [], 0
    for one in ids:
        try:
            found.append(call(one))
        except ServiceRefused as refused:
            if refused.exit_status != FAILED:
                raise
            say(f"tunehook: {one}: {refused}")
            status = FAILED
    return found, status


def _retry_after(answer: httpx2.Response) -> float:
    text = answer.headers.get("retry-after", "")
    return min(LONGEST_PAUSE, float(text)) if text.isascii() and text.isdigit() else 0.0


def _is_here(url: str, port: int) -> bool:
    """Returns whether the address is the port of this machine's Tunehook."""
    try:
        address = httpx2.URL(url)
    except httpx2.InvalidURL:
        return False
    return address.host in ("127.0.0.1", "localhost", "::1") and address.port == port


def _kept_key(found: settings.Settings) -> str | None:
    """Returns the key that `tunehook up` keeps in the data directory."""
    try:
        return str(json.loads((found.data_dir / "local.json").read_text())["api_key"])
    except (OSError, ValueError, KeyError):
        return None
