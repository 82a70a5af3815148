"""The checker must find what is wrong: most of these cases are answers that have to be refused."""

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from openai import AsyncOpenAI, BadRequestError
from openapi_spec_validator import OpenAPIV31SpecValidator

from tests.contract.checker import CheckedTransport, Contract, strict_json

JSON = {"Content-Type": "application/json; charset=utf-8"}
ERROR = {"error": {"message": "no", "type": "invalid_request_error", "param": None, "code": None}}


def example(name: str) -> Any:
    return copy.deepcopy(Contract.load().document["components"]["examples"][name]["value"])


def body(value: object) -> bytes:
    return json.dumps(value).encode()


# ------------------------------------------------------------------------------------------------ the spec


def test_the_spec_is_valid_openapi_31(contract: Contract) -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(dict(contract.document)).iter_errors()] == []


def media_types(node: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The pointer of every media type object below `node`; values of examples and schemas are none."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "content":
                yield from ((*at, "content", name) for name in value)
            elif key not in {"examples", "schemas"}:
                yield from media_types(value, (*at, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from media_types(value, (*at, str(index)))


def test_every_example_is_what_its_schema_says(contract: Contract) -> None:
    checked = set()
    for at in media_types(contract.document):
        for name in contract.resolve(at)[1].get("examples", {}):
            where, given = contract.resolve((*at, "examples", name))
            assert contract.faults_of((*at, "schema"), given["value"]) == [], (at, name)
            checked.add(where[-1])
    assert checked >= set(contract.document["components"]["examples"]), "an example that nothing refers to"


def test_nothing_is_described_that_nothing_uses(contract: Contract) -> None:
    text = json.dumps(contract.document)
    for kind, parts in contract.document["components"].items():
        if kind != "securitySchemes":
            unused = [name for name in parts if f'"#/components/{kind}/{name}"' not in text]
            assert unused == [], kind


def test_every_operation_with_a_key_can_be_refused_for_the_key(contract: Contract) -> None:
    for method, path in contract.operations():
        operation = contract.document["paths"][path][method.lower()]
        keyless = operation.get("security") == []
        assert keyless != ("401" in operation["responses"]), (method, path)
        assert keyless != path.startswith("/v1/"), (method, path)


# What an upstream fills, and what is passed on: all else is closed, or a misspelt member goes unseen.
OPEN = {
    "Response",
    "CreateResponseRequest",
    "PassedThroughError",
    "HyperparametersInUse",
    "MethodInUse",
    "IntegrationInUse",
    "ChatCompletion",
    "Grader",
    "CreateChatCompletionRequest",
    "EventEnvelope",
    "WebhookEndpointMembers",
    "DeliveryMembers",
}


def test_objects_are_closed_but_for_the_named_ones(contract: Contract) -> None:
    schemas = contract.document["components"]["schemas"]
    objects = {name: schema for name, schema in schemas.items() if "properties" in schema}
    closed = {
        name
        for name, schema in objects.items()
        if schema.get("additionalProperties") is False or schema.get("unevaluatedProperties") is False
    }
    assert set(objects) - closed == OPEN


def test_operations_are_methods_and_templates(contract: Contract) -> None:
    assert ("POST", "/v1/fine_tuning/jobs/{fine_tuning_job_id}/cancel") in contract.operations()
    assert ("GET", "/livez") in contract.operations()
    assert all(not method.islower() and method != "PARAMETERS" for method, _ in contract.operations())


def test_a_literal_path_is_found_before_a_template() -> None:
    paths: dict[str, Any] = {"/v1/jobs/{id}": {}, "/v1/jobs/estimate": {}, "/v1/{what}/estimate": {}}
    contract = Contract({"paths": paths})
    assert contract.template_of("/v1/jobs/estimate?x=1") == "/v1/jobs/estimate"
    assert contract.template_of("/v1/jobs/ftjob-1") == "/v1/jobs/{id}"
    assert contract.template_of("/v1/jobs/ftjob-1/more") is None
    assert contract.template_of("/v1/jobs/") is None


# ------------------------------------------------------------------------------------------- right answers


@pytest.mark.parametrize("name", ["AcceptedJob", "WaitingJob", "SucceededJob", "FailedJob"])
def test_right_jobs_pass(contract: Contract, name: str) -> None:
    contract.check_response("GET", "/v1/fine_tuning/jobs/ftjob-1?x=2", 200, JSON, body(example(name)))


def test_other_right_answers_pass(contract: Contract) -> None:
    contract.check_response("get", "/v1/files/file-1/content", 200, {"content-type": "application/octet-stream"}, b"\0")
    contract.check_response("GET", "/v1/files/file-1", 404, JSON, body(ERROR))
    contract.check_response("POST", "/v1/chat/completions", 200, {"Content-Type": "text/event-stream"}, b"")
    contract.check_response("POST", "/v1/chat/completions", 422, JSON, body({"error": {"message": "x", "inner": 1}}))
    contract.check_response("DELETE", "/v1/files/file-1", 409, {**JSON, "X-Should-Retry": "false"}, body(ERROR))


def test_what_the_contract_does_not_have_may_only_be_refused(contract: Contract) -> None:
    contract.check_response("GET", "/v1/nothing", 404, JSON, body(ERROR))
    contract.check_response("PATCH", "/v1/files", 405, JSON, body(ERROR))
    with pytest.raises(AssertionError, match="no such operation"):
        contract.check_response("GET", "/v1/nothing", 200, JSON, b"{}")
    with pytest.raises(AssertionError, match="must be 405"):
        contract.check_response("PATCH", "/v1/files", 404, JSON, body(ERROR))
    with pytest.raises(AssertionError, match="not JSON"):
        contract.check_response("GET", "/v1/nothing", 404, JSON, b"404: Not Found")


# ------------------------------------------------------------------------------------------- wrong answers


def put(path: str, value: object) -> Callable[[Any], None]:
    def change(job: Any) -> None:
        *before, last = path.split(".")
        for step in before:
            job = job[step]
        job[last] = value

    return change


def drop(path: str) -> Callable[[Any], None]:
    def change(job: Any) -> None:
        *before, last = path.split(".")
        for step in before:
            job = job[step]
        del job[last]

    return change


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("AcceptedJob", drop("seed"), "'seed' is a required property"),
        ("AcceptedJob", drop("tunehook.revision"), "tunehook: 'revision' is a required property"),
        ("AcceptedJob", put("usage_metrics", None), "usage_metrics"),
        ("AcceptedJob", put("tunehook.stagge", "x"), "stagge"),
        ("AcceptedJob", put("tunehook.stage", "sleeping"), "tunehook.stage: 'sleeping' is not one of"),
        ("AcceptedJob", put("id", "job_1"), "id: 'job_1' does not match"),
        ("AcceptedJob", put("created_at", 1795340610.0), "created_at: 1795340610.0 is not of type"),
        ("AcceptedJob", put("seed", True), "seed: True is not of type"),
        ("AcceptedJob", put("status", "running"), "status: 'validating_files' was expected"),
        ("AcceptedJob", put("status", ""), "status"),
        ("AcceptedJob", put("error", {"code": None, "message": None, "param": None}), "error"),
        ("AcceptedJob", put("metadata", {"tunehook": "tunehook/ftjob-1"}), "metadata"),
        ("AcceptedJob", put("result_files", None), "result_files: None is not of type"),
        ("AcceptedJob", put("hyperparameters", None), "hyperparameters: None is not of type"),
        ("AcceptedJob", put("method.dpo_", {}), "dpo_"),
        ("WaitingJob", put("tunehook.waiting", None), "tunehook.waiting: None is not of type"),
        ("WaitingJob", drop("tunehook.waiting.since"), "tunehook.waiting: 'since' is a required property"),
        ("WaitingJob", put("status", "validating_files"), "status: 'queued' was expected"),
        ("SucceededJob", put("fine_tuned_model", 5), "fine_tuned_model: 5 is not of type"),
        ("SucceededJob", put("status", "running"), "status: 'running' is not one of"),
        ("SucceededJob", put("result_files", ["step_metrics.csv"]), "result_files.0: "),
        ("SucceededJob", put("tunehook.upload", {"bytes_sent": 1}), "'bytes_total' is a required property"),
        ("FailedJob", put("error", None), "error: None is not of type 'object'"),
        ("FailedJob", drop("error.param"), "error: 'param' is a required property"),
    ],
)
def test_wrong_jobs_are_found(contract: Contract, name: str, change: Callable[[Any], None], told: str) -> None:
    job = example(name)
    change(job)
    with pytest.raises(AssertionError) as caught:
        contract.check_response("GET", "/v1/fine_tuning/jobs/ftjob-1", 200, JSON, body(job))
    assert told in str(caught.value)


READY = {"status": "ok", "checks": {"redis": {"ok": True, "message": "x"}}}


@pytest.mark.parametrize(
    ("asked", "status", "headers", "sent", "told"),
    [
        ("GET /v1/files/file-1", 500, JSON, body(ERROR), "500 is not declared, only 200, 401, 403, 404, 429, 503"),
        ("GET /v1/files/file-1", 404, JSON, body({"error": "no"}), "error: 'no' is not of type 'object'"),
        ("GET /v1/files/file-1", 404, JSON, body({"error": {"message": "no"}}), "'type' is a required"),
        ("GET /v1/files/file-1", 404, {"content-type": "text/plain"}, b"no", "'text/plain' is not declared"),
        ("GET /v1/files/file-1", 404, {}, body(ERROR), "Content-Type '' is not declared"),
        ("DELETE /v1/files/file-1", 409, JSON, body(ERROR), "header x-should-retry is missing"),
        (
            "DELETE /v1/files/file-1",
            409,
            {**JSON, "x-should-retry": "true"},
            body(ERROR),
            "'false' was expec",
        ),
        ("GET /v1/files", 200, JSON, b'{"object": "list", "data": [NaN]}', "NaN is not JSON"),
        ("GET /v1/files", 200, JSON, b'{"object": "list", "object": "list"}', "comes twice"),
        ("GET /v1/files", 200, JSON, b'"\xff"', "not JSON"),
        ("GET /v1/files", 200, JSON, b"", "not JSON"),
        ("GET /v1/files", 200, JSON, body({"object": "list", "data": [], "has_more": False}), "'first_id'"),
        ("GET /readyz", 503, JSON, body(READY), "status: 'failing' was expected"),
    ],
)
def test_other_wrong_answers_are_found(
    asked: str, status: int, headers: dict[str, str], sent: bytes, told: str
) -> None:
    method, path = asked.split()
    with pytest.raises(AssertionError) as caught:
        Contract.load().check_response(method, path, status, headers, sent)
    assert told in str(caught.value)


def test_each_fault_has_its_line(contract: Contract) -> None:
    job = {**example("AcceptedJob"), "seed": None, "object": "job"}
    with pytest.raises(AssertionError) as caught:
        contract.check_response("GET", "/v1/fine_tuning/jobs/ftjob-1", 200, JSON, body(job))
    lines = str(caught.value).splitlines()
    assert lines[0] == "GET /v1/fine_tuning/jobs/ftjob-1 → 200 breaks the contract:"
    assert lines[1:3] == [
        "  - object: 'fine_tuning.job' was expected",
        "  - seed: None is not of type 'integer'",
    ]


# ------------------------------------------------------------------------------------------------ webhooks

SIGNED = {"Webhook-Id": "evt_1", "Webhook-Timestamp": "1795343101", "Webhook-Signature": "v1,YWJj v1,ZGVm"}


@pytest.mark.parametrize("name", ["SucceededEvent", "FailedEvent", "CancelledEvent"])
def test_right_webhooks_pass(contract: Contract, name: str) -> None:
    contract.check_webhook(body(example(name)), SIGNED)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (put("type", "fine_tuning.job.done"), "'fine_tuning.job.done' is not among"),
        (put("type", "fine_tuning.job.failed"), "data.status: 'failed' was expected"),
        (put("extra", 1), "extra"),
        (put("data.object", "fine_tuning.job"), "object"),
        (drop("data.tunehook"), "data: 'tunehook' is a required property"),
        (put("data.fine_tuned_model", ""), "data.fine_tuned_model"),
        (put("data.tunehook.stage", "tracked"), "data.tunehook.stage: 'settled' was expected"),
        (drop("object"), "'object' is a required property"),
    ],
)
def test_wrong_webhooks_are_found(contract: Contract, change: Callable[[Any], None], told: str) -> None:
    event = example("SucceededEvent")
    change(event)
    with pytest.raises(AssertionError) as caught:
        contract.check_webhook(body(event))
    assert told in str(caught.value)


def test_wrong_webhook_bodies_and_headers_are_found(contract: Contract) -> None:
    with pytest.raises(AssertionError, match="not JSON"):
        contract.check_webhook(b"{")
    with pytest.raises(AssertionError, match="None is not among"):
        contract.check_webhook(b"[]")
    with pytest.raises(AssertionError, match="header webhook-id is missing"):
        contract.check_webhook(body(example("FailedEvent")), {})
    with pytest.raises(AssertionError, match="header webhook-signature: 'YWJj' does not match"):
        contract.check_webhook(body(example("FailedEvent")), {**SIGNED, "Webhook-Signature": "YWJj"})


def test_strict_json_reads_what_is_json() -> None:
    assert strict_json('{"a": [1, {"b": "é"}]}'.encode()) == {"a": [1, {"b": "é"}]}


# --------------------------------------------------------------------------------------- through the SDK


@pytest.fixture
async def answers() -> Any:
    """A server whose answers a test chooses: (status, headers, body) by path."""
    chosen: dict[str, tuple[int, dict[str, str], bytes]] = {}
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        status, headers, sent = chosen[request.path]
        return web.Response(status=status, headers=headers, body=sent)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        yield server, chosen, asked


async def test_the_transport_checks_what_the_sdk_is_answered(contract: Contract, answers: Any) -> None:
    server, chosen, asked = answers
    transport = CheckedTransport(contract)
    async with (
        httpx2.AsyncClient(transport=transport) as http,
        AsyncOpenAI(base_url=f"{server.make_url('/v1')}", api_key="th_x", http_client=http) as client,
    ):
        jobs = "/v1/fine_tuning/jobs"
        chosen[f"{jobs}/ftjob-1"] = (200, JSON, body(example("SucceededJob")))
        job = await client.fine_tuning.jobs.retrieve("ftjob-1")
        assert job.fine_tuned_model == example("SucceededJob")["fine_tuned_model"]

        chosen[f"{jobs}/ftjob-1/cancel"] = (400, JSON, body(ERROR))
        with pytest.raises(BadRequestError, match="no"):
            await client.fine_tuning.jobs.cancel("ftjob-1")

        chosen["/v1/files/file-1/content"] = (
            200,
            {"Content-Type": "application/octet-stream"},
            b"a,b\n1,2\n",
        )
        assert (await client.files.content("file-1")).content == b"a,b\n1,2\n"

        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}
        stream = b"data: " + body(chunk) + b"\n\ndata: [DONE]\n\n"
        chosen["/v1/chat/completions"] = (200, {"Content-Type": "text/event-stream"}, stream)
        told = await client.chat.completions.create(
            model="ft:x", messages=[{"role": "user", "content": "?"}], stream=True
        )
        assert [one.id async for one in told] == ["c"]

        chosen["/v1/files/file-1"] = (200, JSON, body({**example("File"), "sha256": "x"}))
        with pytest.raises(AssertionError, match="sha256"):
            await client.files.retrieve("file-1")
        chosen["/v1/files/file-1"] = (500, JSON, body(ERROR))
        with pytest.raises(AssertionError, match="status 500 is not declared"):
            await client.files.retrieve("file-1")
        assert asked.count("/v1/files/file-1") == 2, "a broken contract is not a lost connection to try again"
        assert transport.seen[0] == ("GET", f"{jobs}/{{fine_tuning_job_id}}", 200)
        assert len(transport.seen) == len(asked) == 6
