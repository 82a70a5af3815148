"""Who trains: the one Protocol that the story speaks to. What a vendor's API looks like stays behind it.

Every method raises an UpstreamError and nothing else; none of them tries again, that is the story's business.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from tunehook.model.job import JobSpec, Message, UpstreamJob

#: Called with the bytes sent so far.
Progress = Callable[[int], Awaitable[None]]


@dataclass(frozen=True)
class Passed:
    """An upstream's answer, handed on as it is: status, headers that matter, and its bytes as they come."""

    status: int
    content_type: str
    chunks: AsyncIterator[bytes]
    headers: Mapping[str, str]


class Upstream(Protocol):
    name: str

    async def upload(self, path: Path, filename: str, progress: Progress) -> str:
        """Sends a whole file in one request; returns the upstream's file id."""

    async def find_file(self, filename: str, size: int) -> str | None:
        """An earlier upload of these bytes, known by its name."""

    async def begin_parts(self, filename: str, size: int) -> str:
        """For large files: returns an upload id that parts are added to."""

    async def add_part(self, upload_id: str, part: bytes) -> str:
        """Returns the part's id."""

    async def end_parts(self, upload_id: str, parts: list[str]) -> str:
        """Joins the parts; returns the upstream's file id."""

    async def delete_file(self, file_id: str) -> None: ...

    async def create(self, spec: JobSpec, *, training: str, validation: str | None, tag: str) -> UpstreamJob:
        """Creates a job, which costs money. UpstreamUnknown: it may exist, it may not."""

    async def find(self, spec: JobSpec, *, training: str, tag: str, since: int) -> list[UpstreamJob]:
        """The jobs that bear our tag (or, where metadata is not shown, our seed and file), the oldest first.
        `since`: unix seconds before which it cannot have been created."""

    async def page(self, after: str | None) -> tuple[list[UpstreamJob], bool]:
        """Up to 100 jobs, newest first, and whether there are more."""

    async def retrieve(self, job_id: str) -> UpstreamJob: ...

    async def cancel(self, job_id: str) -> UpstreamJob: ...

    async def pause(self, job_id: str) -> UpstreamJob: ...

    async def resume(self, job_id: str) -> UpstreamJob: ...

    async def events(self, job_id: str, after: str | None) -> tuple[list[Message], bool]:
        """Up to 100 events older than the event `after`, newest first, and whether there are more."""

    async def checkpoints(self, job_id: str, *, after: str | None, limit: int) -> dict[str, Any]:
        """The upstream's list, as it is."""

    async def result(self, file_id: str) -> bytes:
        """The content of a result file, a base64 layer undone."""

    async def models(self) -> list[dict[str, Any]]:
        """All that our key can see there, as they are."""

    async def grade(self, verb: Literal["run", "validate"], body: dict[str, Any]) -> Passed:
        """Tries a grader; refusals of the upstream are answers here, not errors, but for what is about our key."""

    def chat(self, body: dict[str, Any]) -> AbstractAsyncContextManager[Passed]:
        """Passes a chat completion on; refusals of the upstream are answers here, not errors."""

    async def close(self) -> None: ...
