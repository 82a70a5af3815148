"""Upstream: the protocol of a vendor that trains. Its clients hide what a vendor's API looks like.

Every method raises UpstreamError and nothing else, but for what a file that is sent raises as it is read. None retries:
that is decided in tunehook/jobs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from tunehook.model.deployment import Deployed, Deployment, Deploys
from tunehook.model.job import JobSpec, Message, UpstreamJob

#: Called with the bytes sent so far.
Progress = Callable[[int], Awaitable[None]]


@dataclass(frozen=True)
class News:
    """A page of the list of jobs, newest first, as a poll needs it.

    `unchanged`: ids of the jobs whose fingerprint was known; `changed`: all others. `after`: the job behind which the
    list goes on; None: it does not.
    """

    changed: list[UpstreamJob]
    unchanged: list[str]
    after: str | None


@dataclass(frozen=True)
class Passed:
    """An upstream's answer that is passed on: status, some headers, and its bytes as they come."""

    status: int
    content_type: str
    chunks: AsyncIterator[bytes]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Content:
    """A file at an upstream: its name, how many bytes are announced (None: not), and its bytes as they come."""

    filename: str
    size: int | None
    chunks: AsyncIterator[bytes]


class Source(Protocol):
    """A file of ours that is sent: how many bytes it has, and its bytes, as often as they are asked for."""

    @property
    def size(self) -> int: ...

    def chunks(self) -> AsyncIterator[bytes]: ...


#: How a create whose answer was lost is decided. `named`: our id is the job's id there, so one look is proof, and the
#: same id sent again makes no second job. `marked`: jobs show our metadata. `alike`: by suffix, seed and file.
Identity = Literal["named", "marked", "alike"]


class Upstream(Protocol):
    """`kind`: of tunehook/upstreams/kinds.py."""

    name: str
    kind: str
    identity: Identity

    @property
    def deletes_models(self) -> bool:
        """Whether tuned models can be deleted from here."""

    @property
    def deploys(self) -> Deploys | None:
        """How models are deployed from here; None: they answer at once, or are deployed elsewhere."""

    async def upload(self, source: Source, filename: str, progress: Progress) -> str:
        """Sends a whole file in one request; returns the upstream's file id."""

    async def find_file(self, filename: str, size: int) -> str | None:
        """Returns the id of an earlier upload of these bytes, found by its name, or None."""

    async def begin_parts(self, filename: str, size: int) -> str:
        """Begins an upload in parts; returns its id."""

    async def add_part(self, upload_id: str, part: bytes) -> str:
        """Sends a part; returns its id."""

    async def end_parts(self, upload_id: str, parts: list[str]) -> str:
        """Joins the parts; returns the upstream's file id."""

    async def delete_file(self, file_id: str) -> None: ...

    async def create(self, spec: JobSpec, *, training: str, validation: str | None, tag: str) -> UpstreamJob:
        """Creates a job, which costs money. After UpstreamUnknown the job may exist."""

    async def find(self, spec: JobSpec, *, training: str, tag: str, since: int) -> list[UpstreamJob]:
        """Returns the jobs with our tag (without metadata: our seed and file), the oldest first.

        `since`: unix seconds before which the job cannot have been created."""

    async def find_alike(self, spec: JobSpec, *, training: str, tag: str, since: int) -> list[UpstreamJob]:
        """Returns jobs with our seed and file and no mark: no proof, but a reason not to create again."""

    async def page(self, after: str | None) -> tuple[list[UpstreamJob], bool]:
        """Returns 100 jobs at most after `after` (read by any process), newest first, and whether more follow."""

    async def news(self, after: str | None, known: Mapping[str, str]) -> News:
        """Returns the same page without reading what has not changed. `known`: upstream job id → its fingerprint."""

    async def retrieve(self, job_id: str) -> UpstreamJob: ...

    async def cancel(self, job_id: str) -> UpstreamJob: ...

    async def pause(self, job_id: str) -> UpstreamJob: ...

    async def resume(self, job_id: str) -> UpstreamJob: ...

    async def events(self, job_id: str, after: str | None) -> tuple[list[Message], bool]:
        """Returns up to 100 events older than the event `after`, newest first, and whether there are more."""

    async def checkpoints(self, job_id: str, *, after: str | None, limit: int) -> dict[str, Any]:
        """Returns the upstream's list of checkpoints as it is."""

    async def result(self, file_id: str) -> bytes:
        """Returns the content of a result file, decoded if it was base64."""

    def content(self, file_id: str) -> AbstractAsyncContextManager[Content]:
        """Opens a dataset that lies there. Its bytes end early without an error where a connection may: count them."""

    async def models(self) -> list[dict[str, Any]]:
        """Returns all models that our key can see, as they are."""

    async def delete_model(self, model: str) -> None:
        """Deletes a tuned model, where `deletes_models`. One that is not there is refused with the status 404."""

    async def grade(self, verb: Literal["run", "validate"], body: dict[str, Any]) -> Passed:
        """Tries a grader. Refusals are answers here, not errors, except those of our key."""

    def chat(self, body: dict[str, Any]) -> AbstractAsyncContextManager[Passed]:
        """Passes a chat completion on. Refusals are answers here, not errors, except those of our key."""

    def respond(self, body: dict[str, Any]) -> AbstractAsyncContextManager[Passed]:
        """Passes a call of the Responses API on, as `chat`. Raises UpstreamUnsupported where there is none."""

    async def deploy(self, wanted: Deployment) -> Deployed:
        """Creates the deployment of a tuned model under a name of ours, which may cost money by the hour.

        After UpstreamUnknown it may exist. Where it exists under our name, no second one is made."""

    async def deployment(self, wanted: Deployment) -> Deployed | None:
        """Returns the deployment with our name; None: the vendor shows none."""

    async def undeploy(self, wanted: Deployment) -> None:
        """Asks the vendor to remove the deployment. One that is not there is no error."""

    async def listed_deployments(self) -> dict[str, str]:
        """Returns those that are billed and have a name as ours have: the name there → the job that it says it is of.

        Another Tunehook on the account gives such names, too."""

    async def close(self) -> None: ...
