"""OpenAI's API as an upstream, called through the official SDK. The only module that imports `openai`.

Each call is made once: with its own retries the SDK would repeat a create whose answer was lost, and each create is
paid for. A call ends within `CALL_SECONDS` in all; the SDK's own timeout is per read.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Literal

import httpx2
import openai
from openai._response import AsyncResponseContextManager

from tunehook.errors import DataDirUnavailable, UpstreamError, UpstreamRefused, UpstreamTooLarge, UpstreamUnknown
from tunehook.model.job import TAG, JobSpec, Message, UpstreamJob
from tunehook.settings import UpstreamSettings
from tunehook.upstreams import answers, dialect, recognition
from tunehook.upstreams.file_source import file_form, file_source
from tunehook.upstreams.lacking import NoDeployments
from tunehook.upstreams.members import rows
from tunehook.upstreams.plain_http import (
    CALL_SECONDS,
    CONNECT_SECONDS,
    FILE_SECONDS,
    once,
    passed,
    refusal_passed,
    refuse_page,
)
from tunehook.upstreams.protocol import Content, Identity, News, Passed, Progress, Source

#: For a part of 8 MiB (70 kB/s).
PART_SECONDS = 120.0
#: Where an upstream ignores the filter, its list is read back to the time of the create, at most so many pages.
FIND_PAGES = 50
#: So many pages are read for a job that only looks like ours; one, if a job there bears a mark.
ALIKE_PAGES = 10
#: Jobs of a page; and of a page that was too large, since a job with a grader may have a megabyte.
PAGE_JOBS, SMALL_PAGE_JOBS = 100, 10


class OpenAIUpstream(NoDeployments):
    """An upstream that speaks OpenAI's API. Opens nothing until the first call."""

    def __init__(self, name: str, settings: UpstreamSettings) -> None:
        self.name, self.kind = name, str(settings.kind)
        # A trainer of ours makes the job's id of our mark: the same create again makes no second job.
        self.identity: Identity = "named" if settings.kind == "trainer" else "marked"
        self.deletes_models = settings.kind in ("openai", "trainer")  # Azure's page names no such call for tuned models
        self._client = openai.AsyncOpenAI(
            base_url=settings.base_url,
            api_key=settings.api_key.get_secret_value(),
            max_retries=0,
            timeout=httpx2.Timeout(CALL_SECONDS, connect=CONNECT_SECONDS),
            http_client=answers.BoundedClient(name),
        )

    async def close(self) -> None:
        await self._client.close()

    # ---- files

    async def upload(self, source: Source, filename: str, progress: Progress) -> str:
        """Sends the form piece by piece: the SDK's own call would hold the file in memory, or read it in the loop."""
        headers, head, tail = file_form(filename, source.size, {"purpose": "fine-tune"})
        headers[answers.FORM_HEADER] = headers.pop("content-type")
        async with file_source(source, progress) as counted:
            call = self._client.post(
                "/files",
                cast_to=httpx2.Response,
                content=counted.chunks(head, tail),
                options={"headers": headers, "timeout": FILE_SECONDS},
            )
            return dialect.identifier(self.name, await self._json(call, seconds=FILE_SECONDS))

    async def find_file(self, filename: str, size: int) -> str | None:
        answer = await self._get("/files", {"purpose": "fine-tune", "limit": 100, "order": "desc"})
        for row in rows(self.name, answer):
            if row.get("filename") == filename and row.get("bytes") == size and row.get("status") != "error":
                return dialect.identifier(self.name, row)
        return None

    async def begin_parts(self, filename: str, size: int) -> str:
        body = {"filename": filename, "bytes": size, "purpose": "fine-tune", "mime_type": "text/jsonl"}
        return dialect.identifier(self.name, await self._post("/uploads", body))

    async def add_part(self, upload_id: str, part: bytes) -> str:
        call = self._client.uploads.parts.with_raw_response.create(upload_id, data=part, timeout=PART_SECONDS)
        return dialect.identifier(self.name, await self._json(call, seconds=PART_SECONDS))

    async def end_parts(self, upload_id: str, parts: list[str]) -> str:
        call = self._client.uploads.with_raw_response.complete(upload_id, part_ids=parts, timeout=FILE_SECONDS)
        answer = await self._json(call, seconds=FILE_SECONDS)
        return dialect.identifier(self.name, answer.get("file"))

    async def delete_file(self, file_id: str) -> None:
        await self._json(self._client.files.with_raw_response.delete(file_id))

    async def result(self, file_id: str) -> bytes:
        """Result files came base64-encoded to some and plain to others: both are taken."""
        async with self._guard(CALL_SECONDS):
            content = await (await self._client.files.content(file_id)).aread()
        try:
            return base64.b64decode(content, validate=True)
        except binascii.Error:
            return content

    @asynccontextmanager
    async def content(self, file_id: str) -> AsyncIterator[Content]:
        """Asks for the file's name and bytes first: the answer with its content need not have them."""
        filename, size = dialect.described(await self._get(f"/files/{file_id}", {}), file_id)
        async with (
            self._guard(FILE_SECONDS),
            self._client.files.with_streaming_response.content(file_id, timeout=CALL_SECONDS) as answer,
        ):
            refuse_page(self.name, answer.http_response)
            yield Content(filename, size, answer.iter_bytes())

    # ---- jobs

    async def create(self, spec: JobSpec, *, training: str, validation: str | None, tag: str) -> UpstreamJob:
        body = self.create_body(spec, training=training, validation=validation, tag=tag)
        return recognition.created(self.name, await self._post("/fine_tuning/jobs", body), tag, spec, training)

    def create_body(self, spec: JobSpec, *, training: str, validation: str | None, tag: str) -> dict[str, Any]:
        """Returns the body of a create; options stand beside OpenAI's members."""
        body = spec.model_dump(exclude_none=True, exclude={"options"}) | (spec.options or {})
        body["training_file"] = training
        if validation:
            body["validation_file"] = validation
        body["metadata"] = {**(spec.metadata or {}), TAG: tag}
        return body

    async def find(self, spec: JobSpec, *, training: str, tag: str, since: int) -> list[UpstreamJob]:
        """Searches by our metadata; where the filter is ignored or refused, page by page back to `since`."""
        found: list[UpstreamJob] = []
        after: str | None = None
        by_metadata = {f"metadata[{TAG}]": tag}
        for _ in range(FIND_PAGES):
            try:
                answer = await self._jobs(after, by_metadata)
            except UpstreamRefused:
                if not by_metadata:
                    raise
                by_metadata = {}
                continue
            jobs, more = dialect.jobs(self.name, answer, tag=tag)
            found += jobs
            # A row without a date does not end the search: it does not tell how old the rest of the list is.
            if not more or not jobs or 0 < jobs[-1].created_at < since:
                break
            after = jobs[-1].id
        else:
            raise UpstreamUnknown(upstream=self.name, why=f"its list goes on after {FIND_PAGES} pages")
        return recognition.ours(found, tag, spec, training, since=since)

    async def find_alike(self, spec: JobSpec, *, training: str, tag: str, since: int) -> list[UpstreamJob]:
        """Reads the list unfiltered: a gateway may replace our metadata and pass a filter by it on."""
        found: list[UpstreamJob] = []
        after: str | None = None
        for _ in range(ALIKE_PAGES):
            jobs, more = await self.page(after)
            found += recognition.alike(jobs, spec, training, since=since)
            marked = any(TAG in (job.metadata or {}) for job in jobs)  # it keeps marks, as a rule
            if not more or not jobs or marked or 0 < jobs[-1].created_at < since:
                break
            after = jobs[-1].id
        return found

    async def page(self, after: str | None) -> tuple[list[UpstreamJob], bool]:
        return dialect.jobs(self.name, await self._jobs(after, {}))

    async def news(self, after: str | None, known: Mapping[str, str]) -> News:
        return dialect.news(self.name, await self._jobs(after, {}), known)

    async def _jobs(self, after: str | None, by_metadata: dict[str, str]) -> dict[str, Any]:
        """Returns a page of the list of jobs; fewer of them where a hundred are too large an answer."""
        query = {**by_metadata} | ({"after": after} if after else {})
        try:
            return await self._get("/fine_tuning/jobs", {"limit": PAGE_JOBS, **query})
        except UpstreamTooLarge:
            return await self._get("/fine_tuning/jobs", {"limit": SMALL_PAGE_JOBS, **query})

    async def retrieve(self, job_id: str) -> UpstreamJob:
        return dialect.job(self.name, await self._get(f"/fine_tuning/jobs/{job_id}", {}))

    async def cancel(self, job_id: str) -> UpstreamJob:
        return dialect.job(self.name, await self._post(f"/fine_tuning/jobs/{job_id}/cancel", None))

    async def pause(self, job_id: str) -> UpstreamJob:
        return dialect.job(self.name, await self._post(f"/fine_tuning/jobs/{job_id}/pause", None))

    async def resume(self, job_id: str) -> UpstreamJob:
        return dialect.job(self.name, await self._post(f"/fine_tuning/jobs/{job_id}/resume", None))

    async def events(self, job_id: str, after: str | None) -> tuple[list[Message], bool]:
        query: dict[str, Any] = {"limit": 100} | ({"after": after} if after else {})
        answer = await self._get(f"/fine_tuning/jobs/{job_id}/events", query)
        return dialect.messages(rows(self.name, answer)), bool(answer.get("has_more"))

    async def checkpoints(self, job_id: str, *, after: str | None, limit: int) -> dict[str, Any]:
        query: dict[str, Any] = {"limit": limit} | ({"after": after} if after else {})
        return dialect.checkpoints(self.name, await self._get(f"/fine_tuning/jobs/{job_id}/checkpoints", query))

    # ---- models, graders, chat

    async def models(self) -> list[dict[str, Any]]:
        listed = rows(self.name, await self._get("/models", {}))
        return [row for row in listed if isinstance(row.get("id"), str)]

    async def delete_model(self, model: str) -> None:
        await self._json(self._client.models.with_raw_response.delete(model))

    async def grade(self, verb: Literal["run", "validate"], body: dict[str, Any]) -> Passed:
        async with self._guard(CALL_SECONDS):
            try:
                call = self._client.post(f"/fine_tuning/alpha/graders/{verb}", cast_to=httpx2.Response, body=body)
                answer = await call
            except openai.APIStatusError as error:
                if _is_ours_to_say(error):
                    raise
                return refusal_passed(self.name, error.response, error.response.content)
            refuse_page(self.name, answer)
        return passed(answer, once(answer.content))

    def chat(self, body: dict[str, Any]) -> AbstractAsyncContextManager[Passed]:
        create = self._client.chat.completions.with_streaming_response.create
        return self._passed_on(create(model=body["model"], messages=body["messages"], extra_body=body, timeout=600.0))

    def respond(self, body: dict[str, Any]) -> AbstractAsyncContextManager[Passed]:
        create = self._client.responses.with_streaming_response.create
        return self._passed_on(create(model=body["model"], input=body["input"], extra_body=body, timeout=600.0))

    @asynccontextmanager
    async def _passed_on(self, call: AsyncResponseContextManager[Any]) -> AsyncIterator[Passed]:
        """Passes an answer on byte by byte, without a total timeout: a long answer streams for minutes."""
        async with self._guard(None):
            try:
                async with call as answer:
                    refuse_page(self.name, answer.http_response)
                    yield passed(answer.http_response, answer.iter_bytes())
            except openai.APIStatusError as error:
                if _is_ours_to_say(error):
                    raise
                yield refusal_passed(self.name, error.response, error.response.content)

    # ---- calls

    async def _get(self, path: str, query: dict[str, Any]) -> dict[str, Any]:
        call = self._client.get(path, cast_to=httpx2.Response, options={"params": query})
        return await self._json(call)

    async def _post(self, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        return await self._json(self._client.post(path, cast_to=httpx2.Response, body=body))

    async def _delete(self, path: str) -> None:
        await self._json(self._client.delete(path, cast_to=httpx2.Response))

    async def _json(self, call: Any, seconds: float = CALL_SECONDS) -> dict[str, Any]:
        """Returns the answer's JSON object. The SDK would raise a bare JSONDecodeError on a malformed one."""
        async with self._guard(seconds):
            answer = await call
            content = answer.content if isinstance(answer, httpx2.Response) else answer.http_response.content
        return answers.json_object(self.name, content)

    @asynccontextmanager
    async def _guard(self, seconds: float | None) -> AsyncIterator[None]:
        """Turns every error of the SDK into an UpstreamError that says what is known of the outcome."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except UpstreamError:
            raise
        except openai.APIStatusError as error:
            headers = error.response.headers
            raise dialect.refusal(self.name, error.status_code, error.body, headers) from error
        except openai.APIConnectionError as error:
            if isinstance(error.__cause__, (DataDirUnavailable, FileNotFoundError)):  # of a file that was being sent
                raise error.__cause__ from error
            raise answers.no_answer(self.name, error.__cause__) from error
        except TimeoutError as error:
            raise UpstreamUnknown(upstream=self.name, why=f"none within {seconds} s") from error
        except (openai.OpenAIError, httpx2.HTTPError, httpx2.StreamError, ssl.SSLError, ValueError) as error:
            raise answers.no_answer(self.name, error) from error


def _is_ours_to_say(error: openai.APIStatusError) -> bool:
    """Returns whether the answer is not passed on: it quotes a part of our key (401), or redirects."""
    return error.status_code == 401 or error.status_code < 400
