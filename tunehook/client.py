"""Types and a few helpers for what the OpenAI SDK does not know of Tunehook. Needs the standard library alone.

from openai import OpenAI
from tunehook import client as tunehook
client = OpenAI(base_url="http://tunehook:8080/v1", api_key="th_…")
job = client.fine_tuning.jobs.create(…, extra_body=tunehook.options(callback_url="https://you.example/hooks"))
job = tunehook.wait(client, job.id)
print(tunehook.of(job)["cost"])
"""

import base64
import hashlib
import hmac
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NotRequired, Protocol, TypedDict, TypeVar, cast


class Cost(TypedDict):
    billed_tokens: int
    usd: float | None
    price: dict[str, float | str | None] | None


class Waiting(TypedDict):
    reason: str
    code: str
    retry_at: int | None
    since: int
    place: NotRequired[int]
    slot_expected_at: NotRequired[int | None]


class ModelState(TypedDict):
    state: Literal["needs_deployment", "deploying", "callable"]
    what_to_do: NotRequired[str]


class JobTunehook(TypedDict):
    """The member `tunehook` of a job, and of the data of a webhook about one."""

    stage: Literal["accepted", "uploading", "creating", "waiting", "tracked", "settled"]
    upstream: str
    upstream_job_id: str | None
    upstream_status: str | None
    options: dict[str, Any] | None
    dataset: dict[str, str | None] | None
    model: ModelState | None
    callback_url: str | None
    waiting: Waiting | None
    upload: dict[str, int] | None
    cancel_requested_at: int | None
    retrained_from: str | None
    left_out: list[dict[str, str]]
    estimate: Cost | None
    cost: Cost | None
    revision: int
    trace_id: NotRequired[str]
    sequence: NotRequired[int]


class _Job(Protocol):
    @property
    def status(self) -> str: ...


J_co = TypeVar("J_co", bound=_Job, covariant=True)


class _Jobs(Protocol[J_co]):
    def retrieve(self, job_id: str, /, *, extra_query: Mapping[str, object] | None, timeout: float) -> J_co: ...


class _FineTuning(Protocol[J_co]):
    @property
    def jobs(self) -> _Jobs[J_co]: ...


class Client(Protocol[J_co]):
    """An `openai.OpenAI`, as far as it is used here."""

    api_key: str

    @property
    def base_url(self) -> object: ...
    @property
    def fine_tuning(self) -> _FineTuning[J_co]: ...


def options(*, callback_url: str | None = None, **own: object) -> dict[str, object]:
    """Returns the `extra_body` of `jobs.create`. `own`: `upstream`, `max_cost_usd`, `deploy`, `options`."""
    found = {name: value for name, value in own.items() if value is not None}
    return ({"callback_url": callback_url} if callback_url else {}) | ({"tunehook": found} if found else {})


def of(thing: object) -> JobTunehook:
    """Returns the member `tunehook` of a job, or of a webhook event's `data`, of the SDK or parsed from JSON."""
    found = thing.get("tunehook") if isinstance(thing, Mapping) else getattr(thing, "tunehook", None)
    if not isinstance(found, dict):
        raise TypeError(f"{type(thing).__name__} has no member `tunehook`: it did not come from a Tunehook")
    return cast(JobTunehook, found)


def wait(client: Client[J_co], job_id: str, *, timeout: float = float("inf")) -> J_co:
    """Returns the job once it has ended. Raises TimeoutError after `timeout` seconds."""
    until = time.monotonic() + timeout
    while True:
        left = max(0.0, until - time.monotonic())
        job = client.fine_tuning.jobs.retrieve(job_id, extra_query={"wait": int(min(60, left))}, timeout=90.0)
        if job.status in ("succeeded", "failed", "cancelled"):
            return job
        if left <= 0:
            raise TimeoutError(f"{job_id} is still {job.status} after {timeout:g} s")
        time.sleep(min(1.0, left))


def events(client: Client[Any], job_id: str, *, after: str = "") -> Iterator[dict[str, Any]]:
    """Yields the job's events as they come, to its end; goes on where it was when the connection breaks."""
    url = f"{str(client.base_url).rstrip('/')}/fine_tuning/jobs/{job_id}/events"
    while True:
        headers = {"authorization": f"Bearer {client.api_key}", "accept": "text/event-stream"}
        asked = urllib.request.Request(url, headers=headers | ({"last-event-id": after} if after else {}))  # noqa: S310
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:  # noqa: S310
                for event in (json.loads(line[5:]) for line in answer if line[:5] == b"data:" and line[-1:] == b"\n"):
                    after = event["id"]
                    yield event
                if answer.status == 204 or not after:  # a Tunehook that stops ends its streams too
                    return
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code != 429:
                raise
        time.sleep(1.0)


def verify(body: bytes, headers: Mapping[str, str], secret: str, *, tolerance: float = 300.0) -> dict[str, Any]:
    """Returns the event of a webhook. Raises ValueError unless it is signed with this secret, and now."""
    named = {name.lower(): value for name, value in headers.items()}
    event_id, sent_at = named.get("webhook-id", ""), named.get("webhook-timestamp", "")
    key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)  # its error is a ValueError too
    fresh = sent_at.isdecimal() and abs(time.time() - int(sent_at)) <= tolerance
    wanted = b"v1," + base64.b64encode(hmac.digest(key, f"{event_id}.{sent_at}.".encode() + body, hashlib.sha256))
    given = named.get("webhook-signature", "").encode().split(b" ")
    if not key or not fresh or not any(hmac.compare_digest(wanted, one) for one in given):
        raise ValueError("the webhook is not signed with this secret, or it is old, or the secret is empty")
    return cast(dict[str, Any], json.loads(body))
