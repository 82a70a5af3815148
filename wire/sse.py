"""Server-sent events, as OpenAI streams a chat."""

import json

from aiohttp import web

DONE = b"data: [DONE]\n\n"


async def begin(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await answer.prepare(request)
    return answer


def data(row: object) -> bytes:
    return f"data: {json.dumps(row)}\n\n".encode()
