"""What a 404 says to do next: about a URL that exists elsewhere, under another base URL or not at all."""

from __future__ import annotations

import re

from aiohttp import web
from yarl import URL

_CHAT = "Models that were tuned here are asked by POST /v1/chat/completions or /v1/responses."
_ELSEWHERE = "Send this to the upstream itself, with its own base URL and key."
#: Of OpenAI's API, what an SDK may call here by mistake, by what follows /v1/.
_NOT_SERVED = {
    "responses": f"Responses are passed on and not stored. {_CHAT}",
    "completions": f"Legacy completions are not passed on. {_CHAT}",
    "embeddings": f"Embeddings are not served. {_ELSEWHERE}",
    "batches": f"Batches are not served. {_ELSEWHERE}",
    "fine-tunes": "Jobs are made by POST /v1/fine_tuning/jobs.",
    "assistants": f"Assistants are not served. {_CHAT}",
    "threads": f"Threads are not served. {_CHAT}",
    "webhooks": "Subscriptions are /v1/webhook_endpoints.",
} | dict.fromkeys(
    ("audio", "conversations", "evals", "images", "moderations", "realtime", "vector_stores", "videos", "containers"),
    f"Only fine-tuning, and chat with models that were tuned here, are served. {_ELSEWHERE}",
)


async def hint(request: web.Request) -> str:
    """Returns a sentence for a request whose URL no route has."""
    path = request.path
    if path.startswith("/v1/v1/") and await _exists(request, path.removeprefix("/v1")):
        return "The base URL has /v1 twice: it ends in one /v1."
    if not path.startswith("/v1/") and await _exists(request, f"/v1{path}"):
        return f"The base URL ends in /v1: {request.method} /v1{path[:200]}."
    name = re.sub(r"^/v1/|^/", "", path).partition("/")[0]
    return " ".join(filter(None, (_NOT_SERVED.get(name), "`/docs` on this server lists what there is.")))


async def _exists(request: web.Request, path: str) -> bool:
    found = await request.app.router.resolve(request.clone(rel_url=URL.build(path=path)))
    return not isinstance(found.http_exception, web.HTTPNotFound)
