"""What holds for each route of the contract: foreign ids do not exist, and members of another type are refused."""

from typing import Any

import pytest

from tests.contract.checker import Contract
from tests.integration.service.conftest import Answer, Api, form
from tests.integration.service.test_tenants import others_key
from tunehook.model.job import Job

BASE = "gpt-4.1-mini-2025-04-14"
#: The least body of routes that read one before they look for the id. Others are sent `{}`.
BODIES: dict[str, dict[str, Any]] = {
    "/v1/deliveries/{delivery_id}/attempts": {"json": {"status_code": 200}},
    "/v1/uploads/{upload_id}/parts": {"data": form()},
    "/v1/uploads/{upload_id}/complete": {"json": {"part_ids": ["part_a"]}},
    "/v1/fine_tuning/jobs/{fine_tuning_job_id}/retrain": {"json": {"model": BASE, "upstream": "openai"}},
    "/v1/webhook_endpoints/{webhook_endpoint_id}": {"json": {"name": "n"}},
    "/v1/webhook_endpoints/{webhook_endpoint_id}/test": {"json": {"event_type": "fine_tuning.job.succeeded"}},
    "/v1/webhook_endpoints/{webhook_endpoint_id}/recover": {"json": {"since": 1}},
}


def with_ids(contract: Contract) -> list[tuple[str, str]]:
    """Operations on one thing of a project. Admin keys belong to no project; an upstream's webhook has no key."""
    outside = ("/v1/admin/", "/v1/upstreams/")
    return sorted(
        (method, path)
        for method, path in contract.operations()
        if "{" in path and path.startswith("/v1/") and not path.startswith(outside)
    )


async def real_ids(api: Api) -> dict[str, str]:
    """One id of each kind; a parameter of a path that is not here fails the test."""
    job = await api.post(
        "/v1/fine_tuning/jobs",
        {"model": BASE, "training_file": api.ids["file_id"], "callback_url": "http://127.0.0.1:9/"},
    )
    assert (await api.call("POST", f"/v1/fine_tuning/jobs/{job['id']}/cancel")).status == 200
    [delivery, *_] = (await api.call("GET", f"/v1/fine_tuning/jobs/{job['id']}/deliveries")).json["data"]
    model = f"ft:{BASE}:acme::Ours"
    record: Job = (await api.ctx.store.jobs.read(api.ids["fine_tuning_job_id"])).job
    tuned = record.model_copy(update={"id": "ftjob-tuned"})
    await api.ctx.store.commit(api.ctx.store.models.name(api.ctx.store.jobs.submission(tuned), tuned, model))
    kept = ("file_id", "fine_tuning_job_id", "upload_id", "webhook_endpoint_id")
    return {name: api.ids[name] for name in kept} | {"delivery_id": delivery["id"], "model": model}


def unknown(one: str) -> str:
    """An id of the same form that nothing has."""
    return one[:-1] + ("A" if one[-1] != "A" else "B")


def said(answer: Answer, ids: dict[str, str]) -> tuple[int, str]:
    text = str(answer.error)
    for one in ids.values():
        text = text.replace(one, "ID")
    return answer.status, text


async def test_every_foreign_id_is_answered_like_an_unknown_one(furnished: Api, contract: Contract) -> None:
    ids, other = await real_ids(furnished), await others_key(furnished)
    nothing = {name: unknown(one) for name, one in ids.items()}
    seen = []
    for method, template in with_ids(contract):
        body = BODIES.get(template, {"json": {}}) if method == "POST" else {}
        if "data" in body:
            body = {"data": form()}  # one can be sent once
        foreign = await furnished.call(method, template.format(**ids), key=other, **body)
        body = {"data": form()} if "data" in body else body
        absent = await furnished.call(method, template.format(**nothing), key=other, **body)
        assert foreign.status == 404, (method, template, foreign.body)
        assert said(foreign, ids) == said(absent, nothing), (method, template)
        if method == "GET":
            assert (await furnished.call(method, template.format(**ids))).status != 404, "the owner has it"
        seen.append(template)
    assert len(seen) >= 30
    for method, template in with_ids(contract):  # and all is as it was
        if method == "GET":
            assert (await furnished.call(method, template.format(**ids))).status != 404, template


def members_of(contract: Contract, path: str) -> dict[str, Any]:
    """Name → schema of each member of the JSON body that the route takes."""
    pointer: tuple[str, ...] = ("paths", path, "post", "requestBody", "content", "application/json", "schema")
    found: dict[str, Any] = {}
    waiting = [contract.resolve(pointer)[1]]
    while waiting:
        schema = waiting.pop()
        if "$ref" in schema:
            waiting.append(contract.resolve(schema["$ref"].removeprefix("#/").split("/"))[1])
        for group in ("anyOf", "oneOf", "allOf"):
            waiting.extend(schema.get(group, ()))
        found.update(schema.get("properties", {}))
    return found


@pytest.mark.parametrize("wrong", [{}, "x", True], ids=str)
async def test_a_member_of_any_type_breaks_nothing(furnished: Api, contract: Contract, wrong: object) -> None:
    good = {
        "model": BASE, "training_file": furnished.ids["file_id"], "upstream": "openai", "upstream_job_id": "ftjob-x",
        "filename": "a", "bytes": 1, "purpose": "fine-tune", "mime_type": "a", "part_ids": ["part_a"], "grader": {},
        "model_sample": "a", "name": "n", "url": "https://example.com/h", "event_types": ["fine_tuning.job.succeeded"],
        "messages": [{"role": "user", "content": "?"}], "pairs": [{"question": "?", "answer": "!"}],
    }  # fmt: skip
    tried = 0
    for method, template in sorted(contract.operations()):
        body = contract.document["paths"][template][method.lower()].get("requestBody", {}).get("content", {})
        if "application/json" not in body or template.startswith(("/v1/upstreams/", "/v1/admin/")):
            continue
        members = members_of(contract, template)
        for name in members:
            sent = {other: value for other, value in good.items() if other in members} | {name: wrong}
            answer = await furnished.call(method, furnished.path(template), json=sent)
            assert answer.status < 500, (template, name, answer.body)
            tried += 1
    assert tried >= 60
