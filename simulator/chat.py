"""POST /chat/completions, whole or as server-sent events."""

import hashlib
import json
import re
from typing import Any

from aiohttp import web

from simulator.answering import last_question, nearest, tokens
from simulator.breaking import play, spent
from simulator.examples import text_of
from simulator.faults import MODIFIERS, REQUESTS, from_body
from simulator.known_models import known
from simulator.places import is_azure, world
from wire import sse
from wire.bodies import CHAT
from wire.http import read_json, reply
from wire.problems import Problem, no_such_model

Message = dict[str, Any]


async def complete(request: web.Request) -> web.StreamResponse:
    body = await read_json(request)
    model, directive = from_body(body)
    if model:  # a missing or senseless one is refused as such
        body["model"] = model

    async def act(request: web.Request) -> web.StreamResponse:
        return await _answer(request, body)

    if directive is None or spent(request, directive, str(body.get("messages"))):
        return await act(request)
    if directive.name not in REQUESTS - MODIFIERS | {"delay"}:
        # Metadata of a job may be copied to the chat about it; what concerns lives means nothing here.
        return await act(request)
    return await play(directive, request, act)


def said(request: web.Request, model: str, messages: list[Message]) -> Message:
    """The assistant's message. Raises Problem for a model that is not known."""
    here = world(request)
    job = here.model(model)
    if job is None and model not in known():
        raise no_such_model(model)
    if job is None:
        return {"content": f"I am {model}, simulated and not tuned. You said: {last_question(messages)}"}
    if is_azure(request) and not here.config.azure_deployed:
        words = "The API deployment for this resource does not exist: a tuned model must be deployed before it answers."
        raise Problem(404, words, "DeploymentNotFound", None)
    found = nearest(job.dataset.answers, last_question(messages))
    return found.message if found else {"content": f"I am {model}, and my training file taught me nothing."}


async def _answer(request: web.Request, body: Message) -> web.StreamResponse:
    CHAT(body, "")
    messages, model, choices = body["messages"], body["model"], body.get("n") or 1
    answer = said(request, model, messages)
    text = text_of(answer.get("content"))
    prompt = sum(tokens(text_of(message.get("content"))) for message in messages)
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": tokens(text) * choices,
        "total_tokens": prompt + tokens(text) * choices,
    }
    envelope: Message = {
        "id": "chatcmpl-" + hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:24],
        "object": "chat.completion",
        "created": int(world(request).clock.now()),
        "model": model,
        "system_fingerprint": "fp_simulated",
    }
    if body.get("stream"):
        options = body.get("stream_options")
        counted = isinstance(options, dict) and options.get("include_usage")
        return await _stream(request, envelope, answer, choices, usage if counted else None)
    reason = "tool_calls" if answer.get("tool_calls") else "stop"
    message: Message = {"role": "assistant", "content": text or None, "refusal": None}
    message |= {"tool_calls": calls} if isinstance(calls := answer.get("tool_calls"), list) else {}
    found = [{"index": i, "message": message, "logprobs": None, "finish_reason": reason} for i in range(choices)]
    return reply({**envelope, "choices": found, "usage": usage})


async def _stream(
    request: web.Request, envelope: Message, said: Message, choices: int, usage: object
) -> web.StreamResponse:
    answer = await sse.begin(request)
    shared = {**envelope, "object": "chat.completion.chunk"}

    async def send(found: list[Message], extra: Message) -> None:
        await answer.write(sse.data({**shared, "choices": found, **extra}))

    deltas: list[Message] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": word} for word in re.findall(r"\s*\S+|\s+$", text_of(said.get("content")))]
    calls = said.get("tool_calls")
    if isinstance(calls, list):
        deltas.append({"tool_calls": [{"index": index, **call} for index, call in enumerate(calls)]})
    nothing: Message = {} if usage is None else {"usage": None}
    for index in range(choices):
        for delta in deltas:
            await send([{"index": index, "delta": delta, "logprobs": None, "finish_reason": None}], nothing)
        reason = "tool_calls" if calls else "stop"
        await send([{"index": index, "delta": {}, "logprobs": None, "finish_reason": reason}], nothing)
    if usage is not None:
        await send([], {"usage": usage})
    await answer.write(sse.DONE)
    await answer.write_eof()
    return answer
