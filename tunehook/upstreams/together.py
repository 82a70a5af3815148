"""Together as an upstream. It takes no id and no metadata of ours: a job is found by its suffix, or by seed and file.

A file's bytes go to an address that Together names, without our key; equal bytes share one file there.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from tunehook.errors import UpstreamRefused, UpstreamUnauthorized, UpstreamUnknown
from tunehook.model.job import JobSpec, Message, UpstreamJob
from tunehook.settings import UpstreamSettings
from tunehook.upstreams import dialect as openai_dialect
from tunehook.upstreams import together_dialect as dialect
from tunehook.upstreams import together_log
from tunehook.upstreams.file_source import file_source
from tunehook.upstreams.lacking import Lacking, NoDeployments, WholePages, unsupported
from tunehook.upstreams.members import is_id, rows, text
from tunehook.upstreams.plain_http import Answer, PlainHttp, once
from tunehook.upstreams.protocol import Content, Identity, Passed, Progress, Source
from tunehook.upstreams.upload_address import REDIRECTS, own_host, put_file

#: A larger file would need Together's uploads in parts.
MOST_BYTES = 5 * 1024**3
_EXISTS = 409
#: Codes of chat (400), as users reported them: no endpoint was made, or it is stopped.
_NOT_DEPLOYED = ("model_not_available", "dedicated_endpoint_not_running")


class TogetherUpstream(WholePages, Lacking, NoDeployments):
    """A project at Together. Opens nothing until the first call."""

    kind = "together"
    identity: Identity = "alike"

    def __init__(self, name: str, settings: UpstreamSettings) -> None:
        self.name = name
        base = settings.base_url.removesuffix("/v1")
        self._allow = own_host(base)
        self._http = PlainHttp(name, f"{base}/v1", settings.api_key.get_secret_value(), dialect.refusal)

    async def close(self) -> None:
        await self._http.close()

    # ---- files

    async def upload(self, source: Source, filename: str, progress: Progress) -> str:
        """Returns the file's id once it is checked. Raises UpstreamNotReady while it is not: find_file asks again."""
        size, checksum = source.size, await _checksum(source)
        if size > MOST_BYTES:
            raise UpstreamRefused(f"The upstream takes files up to {MOST_BYTES} bytes.", upstream=self.name, status=413)
        address, file_id = await self._begin(filename, checksum)
        if address is None:
            found = await self._http.get(f"/files/{file_id}")
            if found.get("bytes") in (size, None):
                return await self._checked(found)
            # It was begun, and its bytes never came whole. No job can use it.
            await self._http.send("DELETE", f"/files/{file_id}")
            address, file_id = await self._begin(filename, checksum)
            if address is None:
                raise UpstreamUnknown(upstream=self.name, why=f"it keeps {file_id}, which has other bytes")
        async with file_source(source, progress) as counted:
            await put_file(self.name, address, counted, size, allow=self._allow)
        ready = dialect.file_id(self.name, await self._http.post(f"/files/{file_id}/preprocess"))
        if ready != file_id:
            raise UpstreamUnknown(upstream=self.name, why="the answer is about another file")
        return ready

    async def _begin(self, filename: str, checksum: str) -> tuple[str | None, str]:
        """Returns (where the bytes go, the file's id), or (None, id) when a file with these bytes is there."""
        form = {"purpose": "fine-tune", "file_name": filename, "file_type": "jsonl", "checksum": checksum}
        try:
            answer = await self._http.send("POST", "/files", form=form, also=REDIRECTS | {_EXISTS})
        except UpstreamUnauthorized as error:
            message = (
                f"The upstream '{self.name}' rejects the API key of this deployment, or its trial credits are used up. "
                "Its operator must correct the key or add credits."
            )
            raise UpstreamUnauthorized(message, upstream=self.name, status=401) from error
        file_id, address = self._begun(answer)
        if file_id is None or not is_id(file_id) or (address is None and answer.status != _EXISTS):
            raise UpstreamUnknown(upstream=self.name, why="it names no file or no address for the upload")
        return address, file_id

    def _begun(self, answer: Answer) -> tuple[str | None, str | None]:
        if answer.status == _EXISTS:
            return text(self._http.object_of(answer).get("file_id")), None
        return answer.headers.get("x-together-file-id"), answer.headers.get("location")

    async def _checked(self, found: dict[str, Any]) -> str:
        """Returns the id of a file that is checked; has one checked that waits for it."""
        if text(found.get("processing_status")) == "PENDING":
            found = await self._http.post(f"/files/{self._checked_id(text(found.get('id')) or '')}/preprocess")
        return dialect.file_id(self.name, found)

    async def find_file(self, filename: str, size: int) -> str | None:
        for found in rows(self.name, await self._http.get("/files")):
            if found.get("filename") == filename and found.get("bytes") == size:
                return await self._checked(found)
        return None

    async def delete_file(self, file_id: str) -> None:
        await self._http.send("DELETE", f"/files/{self._checked_id(file_id)}")

    async def result(self, file_id: str) -> bytes:
        """Returns a job's metrics as OpenAI's result file."""
        job_id = together_log.results_of(file_id)
        if job_id is None:
            raise UpstreamRefused(f"There is no result file '{file_id}'.", upstream=self.name, status=404)
        return together_log.metrics_csv(await self._http.get(f"/fine-tunes/{job_id}/metrics"))

    @asynccontextmanager
    async def content(self, file_id: str) -> AsyncIterator[Content]:
        checked = self._checked_id(file_id)
        filename, size = openai_dialect.described(await self._http.get(f"/files/{checked}"), file_id)
        async with self._http.download(f"/files/{checked}/content") as chunks:
            yield Content(filename, size, chunks)

    # ---- jobs

    async def create(self, spec: JobSpec, *, training: str, validation: str | None, tag: str) -> UpstreamJob:
        body = dialect.create_body(self.name, spec, tag, training_file=training, validation_file=validation)
        return dialect.made(self.name, await self._http.post("/fine-tunes", body), tag)

    async def find(self, spec: JobSpec, *, training: str, tag: str, since: int) -> list[UpstreamJob]:
        answer = await self._http.get("/fine-tunes")
        return dialect.ours(self.name, answer, spec, tag, training_file=training, since=since)

    async def page(self, after: str | None) -> tuple[list[UpstreamJob], bool]:
        """Returns all jobs at once: Together's list has no pages."""
        if after is not None:
            return [], False
        return dialect.jobs(self.name, await self._http.get("/fine-tunes")), False

    async def retrieve(self, job_id: str) -> UpstreamJob:
        """Returns the job; of a failed one, with the reason from its events."""
        raw = await self._http.get(f"/fine-tunes/{self._checked_id(job_id)}")
        found = dialect.job(self.name, raw)
        if found.status != "failed" or found.error is not None:
            return found
        try:
            told, _ = await self.events(job_id, None)
        except UpstreamRefused:
            return found
        return dialect.job(self.name, raw, error=together_log.error_in(told))

    async def cancel(self, job_id: str) -> UpstreamJob:
        raw = await self._http.post(f"/fine-tunes/{self._checked_id(job_id)}/cancel")
        return dialect.job(self.name, raw)

    async def resume(self, job_id: str) -> UpstreamJob:
        raise unsupported(self.name, "resume for jobs", "Create the job again.")

    async def events(self, job_id: str, after: str | None) -> tuple[list[Message], bool]:
        """Returns all events at once: Together's list has no pages."""
        if after is not None:
            return [], False
        answer = await self._http.get(f"/fine-tunes/{self._checked_id(job_id)}/events")
        return together_log.messages(job_id, rows(self.name, answer)), False

    async def checkpoints(self, job_id: str, *, after: str | None, limit: int) -> dict[str, Any]:
        answer = await self._http.get(f"/fine-tunes/{self._checked_id(job_id)}/checkpoints")
        return together_log.checkpoints(job_id, answer, after=after, limit=limit, name=self.name)

    def _checked_id(self, name: str) -> str:
        """Returns an id that may be a part of a path."""
        if not is_id(name):
            raise UpstreamRefused(f"There is no '{name}' at the upstream.", upstream=self.name, status=404)
        return name

    # ---- models, chat

    async def models(self) -> list[dict[str, Any]]:
        """Returns the models that can be trained."""
        return dialect.models(self.name, await self._http.get("/fine-tunes/models/supported"))

    @asynccontextmanager
    async def chat(self, body: dict[str, Any]) -> AsyncIterator[Passed]:
        """Raises UpstreamRefused with the code `model_not_deployed` for a model without a running endpoint."""
        async with self._http.stream("/chat/completions", body) as passed:
            if passed.status != 400:
                yield passed
                return
            content = b"".join([chunk async for chunk in passed.chunks])
            if any(f'"{code}"'.encode() in content for code in _NOT_DEPLOYED):
                raise UpstreamRefused(upstream=self.name, status=400, code="model_not_deployed")
            yield replace(passed, chunks=once(content))


async def _checksum(source: Source) -> str:
    """Returns the SHA-256 in hex."""
    digest = hashlib.sha256()
    async for chunk in source.chunks():
        await asyncio.to_thread(digest.update, chunk)
    return digest.hexdigest()
