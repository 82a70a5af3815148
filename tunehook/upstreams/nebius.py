"""Nebius Token Factory as an upstream: OpenAI's wire format, with other members and no proof by metadata.

A job is known by our mark in its suffix, or else by our seed and file. See docs/upstreams.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tunehook.errors import UpstreamUnknown
from tunehook.model.job import TAG, JobSpec, Message, UpstreamJob
from tunehook.upstreams import dialect, recognition
from tunehook.upstreams.client import FIND_PAGES
from tunehook.upstreams.lacking import Lacking, unsupported
from tunehook.upstreams.members import marked_suffix, rows, suffix_mark
from tunehook.upstreams.nebius_deployments import NebiusDeployments
from tunehook.upstreams.options import asked_of
from tunehook.upstreams.protocol import Identity

LONGEST_SUFFIX = 64
#: Pages of a job's events that are read.
EVENT_PAGES = 20


class NebiusUpstream(Lacking, NebiusDeployments):
    """A project at Nebius. Opens nothing until the first call."""

    identity: Identity = "alike"

    def create_body(self, spec: JobSpec, *, training: str, validation: str | None, tag: str) -> dict[str, Any]:
        """Returns the body of a create: `hyperparameters` with Nebius' own members among them, and never `method`.

        Raises UpstreamUnsupported for what Nebius does not have.
        """
        asked = asked_of("nebius", self.name, spec)
        body: dict[str, Any] = {
            "model": spec.model,
            "training_file": training,
            "suffix": marked_suffix(spec.suffix, tag, LONGEST_SUFFIX),
            "seed": spec.seed,
            "hyperparameters": {"lora": True, **asked, **(spec.options or {})},
            "metadata": {**(spec.metadata or {}), TAG: tag},
        }
        if validation:
            body["validation_file"] = validation
        if spec.integrations:
            body["integrations"] = spec.integrations
        return body

    async def create(self, spec: JobSpec, *, training: str, validation: str | None, tag: str) -> UpstreamJob:
        """Creates the job. An answer with another suffix is another job's; the model may come in another spelling."""
        body = self.create_body(spec, training=training, validation=validation, tag=tag)
        row = _with_mark(await self._post("/fine_tuning/jobs", body), tag)
        if row.get("suffix") and not recognition.is_marked(dialect.job(self.name, row), tag):
            raise UpstreamUnknown(upstream=self.name, why="the answer is about another job")
        return dialect.job(self.name, row)

    async def find(self, spec: JobSpec, *, training: str, tag: str, since: int) -> list[UpstreamJob]:
        return recognition.ours(await self._listed(tag, since), tag, spec, training, since=since)

    async def find_alike(self, spec: JobSpec, *, training: str, tag: str, since: int) -> list[UpstreamJob]:
        return recognition.alike(await self._listed(tag, since), spec, training, since=since)

    async def _listed(self, tag: str, since: int) -> list[UpstreamJob]:
        """Returns the whole list back to `since`: a filter by metadata that is not kept there would hide the job.

        A list that does not page answers the same page again; the search ends there.
        """
        found: dict[str, UpstreamJob] = {}
        after: str | None = None
        for _ in range(FIND_PAGES):
            query: dict[str, Any] = {"limit": 100} | ({"after": after} if after else {})
            answer = await self._get("/fine_tuning/jobs", query)
            marked = [_with_mark(row, tag) for row in rows(self.name, answer)]
            jobs, more = dialect.jobs(self.name, {**answer, "data": marked}, tag=tag)
            new = [job for job in jobs if job.id not in found]
            found |= {job.id: job for job in new}
            if not more or not new or 0 < new[-1].created_at < since:
                return list(found.values())
            after = new[-1].id
        raise UpstreamUnknown(upstream=self.name, why=f"its list goes on after {FIND_PAGES} pages")

    async def events(self, job_id: str, after: str | None) -> tuple[list[Message], bool]:
        """Returns all events at once, newest first: Nebius lists them oldest first."""
        if after is not None:
            return [], False
        found: dict[str, Message] = {}
        for _ in range(EVENT_PAGES):
            query: dict[str, Any] = {"limit": 100} | ({"after": after} if after else {})
            answer = await self._get(f"/fine_tuning/jobs/{job_id}/events", query)
            page = dialect.messages(rows(self.name, answer))
            new = {_event_key(message): message for message in page if _event_key(message) not in found}
            found |= new
            after = page[-1].upstream_event_id if page else None
            if not answer.get("has_more") or not new or not after:
                break
        messages = list(found.values())
        if len(messages) > 1 and messages[0].created_at <= messages[-1].created_at:
            messages.reverse()
        return messages, False

    async def resume(self, job_id: str) -> UpstreamJob:
        raise unsupported(self.name, "resume for jobs", "Create the job again.")


def _event_key(message: Message) -> str:
    return message.upstream_event_id or f"{message.created_at} {message.message}"


def _with_mark(row: Mapping[str, Any], tag: str) -> dict[str, Any]:
    """Returns the row with our mark as its metadata, if its suffix bears it.

    A row with another suffix is another job: it is shown without its seed, so that it does not look alike.
    """
    suffix = row.get("suffix")
    if not isinstance(suffix, str) or not suffix:
        return dict(row)
    if not suffix.lower().endswith(suffix_mark(tag)):
        return {**row, "seed": None}
    metadata = row.get("metadata")
    return {**row, "metadata": {**(metadata if isinstance(metadata, dict) else {}), TAG: tag}}
