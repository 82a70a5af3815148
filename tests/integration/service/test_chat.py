"""Chat of a model that was not tuned here: base models of the project's jobs, and what is said of others."""

import pytest

from tests.integration.service.conftest import Api
from tunehook import api_keys

MESSAGES = [{"role": "user", "content": "Hello"}]


async def test_a_base_model_that_the_list_shows_is_said_to_be_one(api: Api) -> None:
    listed = (await api.call("GET", "/v1/models")).json["data"]
    for model in listed:
        answer = await api.call("POST", "/v1/chat/completions", json={"model": model["id"], "messages": MESSAGES})
        assert (answer.status, answer.error["code"], answer.error["param"]) == (404, "model_not_found", "model")
        assert "is a base model" in answer.error["message"]
    assert listed


@pytest.mark.parametrize("model", ["ft:gpt-4.1-mini-2025-04-14:theirs::abc", "gpt-9", ""])
async def test_any_other_model_does_not_exist_for_this_project(api: Api, model: str) -> None:
    answer = await api.call("POST", "/v1/chat/completions", json={"model": model, "messages": MESSAGES})
    assert answer.status == 404
    assert "does not exist or was not tuned here" in answer.error["message"]


async def test_as_many_tools_as_openai_takes_are_read(api: Api) -> None:
    properties = {f"p{n}": {"type": "string", "description": "x", "enum": ["a", "b"]} for n in range(40)}
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    tools = [{"type": "function", "function": {"name": f"t{n}", "parameters": schema}} for n in range(128)]
    body = {"model": "ft:x", "messages": MESSAGES, "tools": tools}
    answer = await api.call("POST", "/v1/chat/completions", json=body)
    assert answer.error["code"] == "model_not_found"  # and not a body that cannot be read


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
async def test_the_base_model_of_an_own_job_answers_and_for_no_other_project(furnished: Api, path: str) -> None:
    model = "gpt-4.1-mini-2025-04-14"
    body = {"model": model} | ({"messages": MESSAGES} if "chat" in path else {"input": "Hello"})
    answer = await furnished.call("POST", path, json=body)
    assert answer.status == 200, answer.body
    assert b"Hello" in answer.body
    streamed = await furnished.call("POST", path, json=body | {"stream": True})
    assert streamed.headers["content-type"].startswith("text/event-stream")
    encryption = furnished.ctx.webhooks.encryption
    key, _ = await api_keys.create(furnished.ctx.store, encryption, project="others", name="others")
    assert (await furnished.call("POST", path, json=body, key=key)).error["code"] == "model_not_found"
