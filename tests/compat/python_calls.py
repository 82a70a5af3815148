"""Every call of the Python SDK's resources that concern us, tried once and looked at. Each is named as in the SDK."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, BaseModel
from openai._resource import AsyncAPIResource
from pydantic import BaseModel as Parsed

from tests.fakes.datasets import dataset
from tunehook.security.signature import new_secret, sign

MODEL = "gpt-4.1-mini-2025-04-14"
RESOURCES = ("files", "uploads", "fine_tuning", "models", "webhooks", "chat.completions", "responses")
GRADER: Any = {
    "type": "string_check",
    "name": "same",
    "operation": "eq",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.answer }}",
}
QUESTION: Any = [{"role": "user", "content": "Where does the owl sleep?"}]


def names_in(client: AsyncOpenAI) -> set[str]:
    """What there is to be tried, as the SDK has it."""
    found: set[str] = set()
    for name in RESOURCES:
        resource: Any = client
        for part in name.split("."):
            resource = getattr(resource, part)
        _walk(resource, name, found)
    return found


def _walk(resource: AsyncAPIResource, path: str, found: set[str]) -> None:
    for name in dir(type(resource)):
        if name.startswith(("_", "with_")):
            continue
        member = inspect.getattr_static(type(resource), name)
        if not isinstance(member, property | cached_property):
            found.add(f"{path}.{name}")
        elif isinstance(inner := getattr(resource, name), AsyncAPIResource):
            _walk(inner, f"{path}.{name}", found)


class Answer(Parsed):
    place: str


class Calls:
    """`results`: name of a call → what came of it."""

    def __init__(self, client: AsyncOpenAI, receiver_url: str, look: Callable[[], Awaitable[Any]]) -> None:
        self.client = client
        # Upstreams send event types and statuses (moderation_checks, pausing) that the SDK does not list. It lets them
        # pass unless it is asked, as this client was, to refuse whatever is not described.
        lenient = client.with_options(_extra_kwargs={"_strict_response_validation": False})
        self.lenient = lenient.fine_tuning.jobs
        self.receiver_url = receiver_url
        self.look = look
        self.results: dict[str, str] = {}

    async def tried(self, name: str, call: Callable[[], Awaitable[Any]] | Awaitable[Any]) -> Any:
        """A call that must do what it says; every object that comes of it must be the SDK's own, to the member."""
        got = await (call() if callable(call) else call)
        for thing in got if isinstance(got, list) else [got]:
            whole(thing, name)
        self.results[name] = "works"
        return got

    async def refused(self, name: str, call: Awaitable[Any], status: int) -> None:
        """What is not offered says so, with OpenAI's error object."""
        with pytest.raises(openai.APIStatusError) as caught:
            await call
        body: Any = caught.value.body
        assert caught.value.status_code == status, f"{name}: {body}"
        assert body["message"], name
        self.results[name] = f"refused: {status} {caught.value.code}"

    async def all(self) -> dict[str, str]:
        file_id = await self.files()
        await self.uploads()
        job = await self.jobs(file_id)
        await self.steering(file_id)
        await self.graders()
        await self.models(job.fine_tuned_model)
        await self.chat(job.fine_tuned_model)
        await self.responses(job.fine_tuned_model)
        await self.tried("models.delete", self.client.models.delete(job.fine_tuned_model))
        await self.webhooks()
        await self.tried("files.delete", self.client.files.delete(file_id))
        return self.results

    async def files(self) -> str:
        files, content = self.client.files, dataset(20)
        file = await self.tried("files.create", files.create(file=("train.jsonl", content), purpose="fine-tune"))
        assert await self.tried("files.retrieve", files.retrieve(file.id)) == file
        page = await self.tried("files.list", files.list(purpose="fine-tune", limit=1, order="desc"))
        assert [one.id for one in page.data] == [file.id]
        assert (await files.content(file.id)).content == content
        self.results["files.content"] = "works"
        waited = await self.tried("files.wait_for_processing", files.wait_for_processing(file.id))
        assert waited.status == "processed"
        old: Any = files
        with _deprecated():
            assert await old.retrieve_content(file.id) == content.decode()
        self.results["files.retrieve_content"] = "works (deprecated there)"
        return str(file.id)

    async def uploads(self) -> None:
        uploads, content = self.client.uploads, dataset(50)
        about: Any = {"filename": "a.jsonl", "purpose": "fine-tune", "mime_type": "text/jsonl"}
        upload = await self.tried("uploads.create", uploads.create(bytes=len(content), **about))
        part = await self.tried("uploads.parts.create", uploads.parts.create(upload.id, data=content))
        done = await self.tried("uploads.complete", uploads.complete(upload.id, part_ids=[part.id]))
        assert done.file.bytes == len(content)
        other = await uploads.create(bytes=10, **about)
        await self.tried("uploads.cancel", uploads.cancel(other.id))
        md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
        chunked = uploads.upload_file_chunked(file=content, bytes=len(content), part_size=1000, md5=md5, **about)
        assert (await self.tried("uploads.upload_file_chunked", chunked)).status == "completed"

    async def jobs(self, file_id: str) -> Any:
        jobs = self.client.fine_tuning.jobs
        job = await self.tried(
            "fine_tuning.jobs.create",
            jobs.create(
                training_file=file_id,
                model=MODEL,
                suffix="owls",
                seed=7,
                metadata={"team": "search"},
                method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 3}}},
            ),
        )
        assert (job.seed, job.metadata) == (7, {"team": "search"})
        job = await self._until(job.id, "succeeded")
        await self.tried("fine_tuning.jobs.retrieve", jobs.retrieve(job.id))
        page = await self.tried("fine_tuning.jobs.list", jobs.list(limit=1, metadata={"team": "search"}))
        assert [one.id for one in page.data] == [job.id]
        events = await self.tried("fine_tuning.jobs.list_events", self.lenient.list_events(job.id, limit=5))
        assert len(events.data) == 5
        every = [event async for event in self.lenient.list_events(job.id, limit=5)]
        assert len(every) == len({event.id for event in every}) > 10, "paging loses or repeats events"
        points = await self.tried("fine_tuning.jobs.checkpoints.list", jobs.checkpoints.list(job.id))
        assert len(points.data) == 3
        permissions = self.client.fine_tuning.checkpoints.permissions
        name, model = "fine_tuning.checkpoints.permissions", str(job.fine_tuned_model)
        await self.refused(f"{name}.create", _first(permissions.create(model, project_ids=["proj_1"])), 404)
        old: Any = permissions
        with _deprecated():
            await self.refused(f"{name}.retrieve", old.retrieve(model), 404)
        await self.refused(f"{name}.list", _first(permissions.list(model)), 404)
        gone = permissions.delete("cp_1", fine_tuned_model_checkpoint=model)
        await self.refused(f"{name}.delete", gone, 404)
        return job

    async def steering(self, file_id: str) -> None:
        jobs = self.lenient
        job = await jobs.create(training_file=file_id, model=MODEL, metadata={"simulate": "stall"})
        await self._until(job.id, "running")
        await self.tried("fine_tuning.jobs.pause", jobs.pause(job.id))
        await self.tried("fine_tuning.jobs.resume", jobs.resume(job.id))
        await self.tried("fine_tuning.jobs.cancel", jobs.cancel(job.id))
        await self._until(job.id, "cancelled")  # at the latest when the upstream has confirmed it

    async def _until(self, job_id: str, status: str) -> Any:
        end = time.monotonic() + 30
        while (job := await self.lenient.retrieve(job_id)).status != status:
            assert time.monotonic() < end, f"{job.status} {job.error}"
            await self.look()
            await asyncio.sleep(0.1)
        return job

    async def graders(self) -> None:
        graders = self.client.fine_tuning.alpha.graders
        await self.tried("fine_tuning.alpha.graders.validate", graders.validate(grader=GRADER))
        run = graders.run(grader=GRADER, model_sample="Paris", item={"answer": "Paris"})
        assert (await self.tried("fine_tuning.alpha.graders.run", run)).reward == 1

    async def models(self, model: str) -> None:
        models = self.client.models
        page = await self.tried("models.list", models.list())
        assert {model, MODEL} <= {one.id for one in page.data}
        assert (await self.tried("models.retrieve", models.retrieve(model))).id == model

    async def chat(self, model: str) -> None:
        chat: Any = self.client.chat.completions
        said = await self.tried("chat.completions.create", chat.create(model=model, messages=QUESTION))
        assert said.choices[0].message.content
        chunks = [chunk async for chunk in await chat.create(model=model, messages=QUESTION, stream=True)]
        told = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert told == said.choices[0].message.content
        self.results["chat.completions.create"] = "works, streamed too"
        async with chat.stream(model=model, messages=QUESTION) as stream:
            final = await stream.get_final_completion()
        assert final.choices[0].message.content == told
        self.results["chat.completions.stream"] = "works"
        try:
            await chat.parse(model=model, messages=QUESTION, response_format=Answer)
        except ValueError:  # the simulator's birds answer in prose
            self.results["chat.completions.parse"] = "works; whether JSON comes is up to the model"
        for name, call in {
            "retrieve": chat.retrieve("chatcmpl-1"),
            "update": chat.update("chatcmpl-1", metadata={"a": "b"}),
            "delete": chat.delete("chatcmpl-1"),
        }.items():
            await self.refused(f"chat.completions.{name}", call, 404)
        await self.refused("chat.completions.list", _first(chat.list()), 405)
        await self.refused("chat.completions.messages.list", _first(chat.messages.list("chatcmpl-1")), 404)

    async def responses(self, model: str) -> None:
        asked: Any = self.client.responses
        said = await self.tried("responses.create", asked.create(model=model, input=QUESTION))
        assert said.output_text
        events = [event async for event in await asked.create(model=model, input=QUESTION, stream=True)]
        assert [event.type for event in events][-1] == "response.completed"
        self.results["responses.create"] = "works, streamed too"
        async with asked.stream(model=model, input=QUESTION) as stream:
            assert (await stream.get_final_response()).output_text == said.output_text
        self.results["responses.stream"] = "works"
        with pytest.raises(ValueError, match="JSON"):
            await asked.parse(model=model, input=QUESTION, text_format=Answer)
        self.results["responses.parse"] = "works; whether JSON comes is up to the model"
        for name, call in {
            "retrieve": asked.retrieve("resp_1"),
            "delete": asked.delete("resp_1"),
            "cancel": asked.cancel("resp_1"),
            "compact": asked.compact(model=model),
            "input_items.list": _first(asked.input_items.list("resp_1")),
            "input_tokens.count": asked.input_tokens.count(model=model, input="?"),
        }.items():
            await self.refused(f"responses.{name}", call, 404)
        self.results["responses.connect"] = "refused: WebSockets are not served"

    async def webhooks(self) -> None:
        hooks: Any = self.client.webhooks
        made = await self.tried(
            "webhooks.create",
            hooks.create(name="mine", url=self.receiver_url, event_types=["fine_tuning.job.succeeded"]),
        )
        assert made.signing_secret.startswith("whsec_")
        assert (await self.tried("webhooks.retrieve", hooks.retrieve(made.id))).id == made.id
        page = await self.tried("webhooks.list", hooks.list(limit=1))
        assert [one.id for one in page.data] == [made.id]
        assert (await self.tried("webhooks.update", hooks.update(made.id, name="ours"))).name == "ours"
        rotated = await self.tried("webhooks.rotate_secret", hooks.rotate_secret(made.id))
        assert rotated.signing_secret != made.signing_secret
        sample = await self.tried("webhooks.test", hooks.test(made.id, event_type="fine_tuning.job.succeeded"))
        assert sample.status_code == 204
        assert (await self.tried("webhooks.event_types.list", hooks.event_types.list())).data
        await self.tried("webhooks.delete", hooks.delete(made.id))
        secret, body = new_secret(), b'{"id":"evt_1","object":"event","created_at":1,"type":"x","data":{"id":"y"}}'
        headers = sign([secret], "evt_1", int(time.time()), body)
        hooks.verify_signature(body, headers, secret=secret)
        assert hooks.unwrap(body, headers, secret=secret).id == json.loads(body)["id"]
        self.results["webhooks.verify_signature"] = self.results["webhooks.unwrap"] = "works"


@contextmanager
def _deprecated() -> Iterator[None]:
    """The SDK warns of it; it is tried all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


async def _first(page: Any) -> Any:
    """Lists are asked for when somebody reads them."""
    async for row in page:
        return row
    return None


#: Members of ours in OpenAI's objects. `parent` was one of OpenAI's own models, and is of vLLM's.
OURS = frozenset({"tunehook", "parent"})
#: Of lists, described by OpenAI and left out of the SDK's pages.
ENVELOPE = frozenset({"object", "first_id", "last_id"})


def whole(thing: Any, where: str) -> None:
    """The SDK's model has every member that came, but for ours (what is missing or mistyped raises at once)."""
    if isinstance(thing, BaseModel):
        extra = set(thing.model_extra or {}) - OURS
        if "Page[" in type(thing).__name__:
            extra -= ENVELOPE
        assert not extra, f"{where}: the SDK's {type(thing).__name__} does not know {sorted(extra)}"
        for name in type(thing).model_fields:
            whole(getattr(thing, name), f"{where}.{name}")
    elif isinstance(thing, list):
        for inner in thing:
            whole(inner, f"{where}[]")
