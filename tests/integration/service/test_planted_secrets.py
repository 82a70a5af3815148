"""Secrets are in no answer, event, report, log line of any level, or dump, whatever an upstream or a client says."""

import logging
import logging.handlers
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from service.app import build_app
from service.connections import listening
from tests.contract.checker import Contract
from tests.fakes.simulator import Simulator
from tests.fakes.valkey import Valkey
from tests.integration.service.conftest import DATASET, SECRET_KEY, Api, form
from tests.integration.service.test_every_route import BASE, with_ids
from tunehook import api_keys
from tunehook.context import open_context
from tunehook.errors import TunehookError
from tunehook.jobs import copy_step, lifecycle
from tunehook.logs import _Json, _Text
from tunehook.security.signature import new_secret
from tunehook.settings import Settings
from tunehook.store import snapshot

UPSTREAM_KEY, AZURE_KEY = "planted-0123456789abcdefghij", "azure-0123456789abcdefghijkl"


async def echo(request: web.Request) -> web.Response:
    """An upstream that repeats our key in what it says."""
    await request.read()
    said = str(request.headers.get("authorization") or request.headers.get("api-key", ""))
    status = {"/v1/files": 401, "/v1/chat/completions": 400}.get(request.path, 403)
    error = {"message": f"Incorrect API key provided: {said}.", "type": "invalid_request_error", "code": said}
    return web.json_response({"error": error}, status=status, headers={"x-request-id": said})


@asynccontextmanager
async def echoing() -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", echo)
    async with listening(app, "127.0.0.1", 0, most=100) as [(host, port)]:
        yield f"http://{host}:{port}/v1"


@pytest.fixture
async def api(valkey: Valkey, tmp_path: Path, contract: Contract) -> AsyncIterator[Api]:
    async with echoing() as url:
        settings = Settings.model_validate(
            {
                "redis_url": valkey.url,
                "data_dir": tmp_path,
                "secret_key": SECRET_KEY,
                "openai_api_key": UPSTREAM_KEY,
                "openai_base_url": url,
                "azure_openai_api_key": AZURE_KEY,
                "azure_openai_endpoint": url.removesuffix("/v1"),
                "openai_webhook_secret": new_secret(),
                "webhook_allow": "127.0.0.1",
            }
        )
        async with (
            open_context(settings) as ctx,
            listening(build_app(ctx), "127.0.0.1", 0, most=1000) as [(host, port)],
            aiohttp.ClientSession() as session,
        ):
            key, secret = await api_keys.create(ctx.store, ctx.webhooks.encryption, project="tests", name="tests")
            ids = {"key": key, "callback secret": secret, "webhook": ctx.webhook_secrets["openai"]}
            ids |= {"upstream key": UPSTREAM_KEY, "azure key": AZURE_KEY, "secret key": SECRET_KEY}
            nobody = Simulator("http://127.0.0.1:9", session)
            yield Api(f"http://{host}:{port}", key, session, contract, ctx, nobody, ids)


async def everywhere(api: Api, key: str) -> list[str]:
    """Calls what names an upstream, and every route on one thing; with the key in wrong places too. All answers."""
    said: list[str] = []

    async def call(method: str, path: str, **options: object) -> None:
        answer = await api.call(method, path, **options)  # type: ignore[arg-type]
        said.append(f"{answer.headers} {answer.body.decode()}")

    file_id = (await api.call("POST", "/v1/files", data=form(content=DATASET))).json["id"]
    for upstream in ("openai", "azure"):
        job = {"model": BASE, "training_file": file_id, "tunehook": {"upstream": upstream}}
        job_id = (await api.post("/v1/fine_tuning/jobs", job))["id"]
        record = await api.ctx.store.jobs.read(job_id)
        for _ in range(4):
            try:
                await copy_step.copy_to_upstream(api.ctx, upstream, record.job.training.sha256)
            except TunehookError as error:
                said.append(error.message)
            await lifecycle.advance(api.ctx, job_id)
        for path in ("", "/events", "/deliveries", "/checkpoints"):
            await call("GET", f"/v1/fine_tuning/jobs/{job_id}{path}")
        grader = {"type": "string_check", "name": "g", "operation": "eq", "input": "a", "reference": "a"}
        body = {"grader": grader, "tunehook": {"upstream": upstream}}
        await call("POST", "/v1/fine_tuning/alpha/graders/validate", json=body)
        await call("POST", "/v1/fine_tuning/alpha/graders/run", json=body | {"model_sample": "x"})
        taken = {"upstream": upstream, "upstream_job_id": "ftjob-x"}
        await call("POST", "/v1/fine_tuning/jobs/import", json=taken)
        await call("GET", f"/v1/fine_tuning/jobs/importable?upstream={upstream}")
    await call("GET", f"/v1/files/{file_id}/report")
    await call("GET", "/v1/models")
    await call("GET", "/v1/files", key=key[:-1])
    await call("GET", "/v1/files", headers={"authorization": f"Basic {key}"})
    await call("POST", "/v1/webhook_endpoints", json={"url": "https://u:p@example.com/", "name": "n"})
    ids = {"file_id": file_id, "model": "m"}
    for method, template in with_ids(api.contract):
        path = template.format_map({**{name: "unknown" for name in _NAMES}, **ids})
        if method == "GET":
            await call(method, path)
    return said


_NAMES = ("fine_tuning_job_id", "upload_id", "webhook_endpoint_id", "delivery_id")


async def test_no_secret_is_told(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said = await everywhere(api, api.key)
    assert any("Incorrect API key provided" in text for text in said), "the upstream was asked"
    # At `debug`, httpcore2 writes the raw heads of answers. No setting of ours has that level.
    logged = [record for record in caplog.records if not record.name.startswith("httpcore2")]
    packed = await api.ctx.store.run("snapshot", [], [])
    places = {
        "answers": "\n".join(said),
        "logs": "\n".join(form.format(record) for record in logged for form in (_Text("%(message)s"), _Json())),
        "dumps": "\n".join(snapshot.text(entry) for entry in packed),
    }
    found = [
        (what, where, text[max(0, text.index(secret) - 200) : text.index(secret)])
        for what, secret in api.ids.items()
        for where, text in places.items()
        if secret in text
    ]
    assert not found
    assert len(caplog.records) > 20
