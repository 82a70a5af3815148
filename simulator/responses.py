"""POST /responses, whole or as server-sent events: what the model would answer to the same chat."""

import hashlib
import json
import re
from collections.abc import Iterator

from aiohttp import web

from simulator.answering import tokens
from simulator.chat import Message, said
from simulator.examples import text_of
from simulator.places import world
from wire import sse
from wire.bodies import RESPONSE
from wire.http import read_json, reply


async def create(request: web.Request) -> web.StreamResponse:
    body = await read_json(request)
    RESPONSE(body, "")
    asked = _messages(body)
    answer = said(request, str(body["model"]), asked)
    made = _response(request, body, asked, answer)
    return await _stream(request, made) if body.get("stream") else reply(made)


def _messages(body: Message) -> list[Message]:
    """The input as messages of a chat."""
    given = body["input"]
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    found: list[Message] = []
    for item in items if isinstance(items, list) else []:
        content = item.get("content")
        if isinstance(content, list):
            content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
        found.append({"role": item.get("role") or "user", "content": content or ""})
    return found


def _response(request: web.Request, body: Message, asked: list[Message], answer: Message) -> Message:
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    text = text_of(answer.get("content"))
    calls = answer.get("tool_calls")
    output: list[Message] = [
        {"type": "function_call", "id": f"fc_{digest[:24]}{place}", "call_id": call["id"], "status": "completed"}
        | {member: call["function"][member] for member in ("name", "arguments")}
        for place, call in enumerate(calls if isinstance(calls, list) else [])
    ]
    if text or not output:
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        message: Message = {"type": "message", "id": f"msg_{digest[:24]}", "role": "assistant"}
        output.insert(0, message | {"status": "completed", "content": [part]})
    spoken, heard = tokens(text), sum(tokens(text_of(message["content"])) for message in asked)
    return {
        "id": f"resp_{digest[:48]}",
        "object": "response",
        "created_at": int(world(request).clock.now()),
        "status": "completed",
        "model": body["model"],
        "output": output,
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata") or {},
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "temperature": body.get("temperature", 1.0),
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p", 1.0),
        "usage": {
            "input_tokens": heard,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": spoken,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": heard + spoken,
        },
    }


async def _stream(request: web.Request, made: Message) -> web.StreamResponse:
    answer = await sse.begin(request)
    for number, event in enumerate(_events(made)):
        said_event = {**event, "sequence_number": number}
        await answer.write(f"event: {event['type']}\ndata: {json.dumps(said_event)}\n\n".encode())
    await answer.write_eof()
    return answer


def _events(made: Message) -> Iterator[Message]:
    begun = {**made, "status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for place, item in enumerate(made["output"]):
        where: Message = {"output_index": place}
        empty: Message = {"content": []} if item["type"] == "message" else {"arguments": ""}
        yield {"type": "response.output_item.added", **where, "item": {**item, **empty, "status": "in_progress"}}
        yield from _message(item, where) if item["type"] == "message" else _call(item, where)
        yield {"type": "response.output_item.done", **where, "item": item}
    yield {"type": "response.completed", "response": made}


def _message(item: Message, where: Message) -> Iterator[Message]:
    [part] = item["content"]
    where = {**where, "item_id": item["id"], "content_index": 0}
    yield {"type": "response.content_part.added", **where, "part": {**part, "text": ""}}
    for word in re.findall(r"\s*\S+|\s+$", part["text"]):
        yield {"type": "response.output_text.delta", **where, "delta": word, "logprobs": []}
    yield {"type": "response.output_text.done", **where, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **where, "part": part}


def _call(item: Message, where: Message) -> Iterator[Message]:
    where = {**where, "item_id": item["id"]}
    yield {"type": "response.function_call_arguments.delta", **where, "delta": item["arguments"]}
    done = {"arguments": item["arguments"], "name": item["name"]}
    yield {"type": "response.function_call_arguments.done", **where, **done}
