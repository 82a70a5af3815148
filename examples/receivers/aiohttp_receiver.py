"""A receiver with aiohttp, verified by the public library `standardwebhooks`.

pip install aiohttp standardwebhooks
WEBHOOK_SECRET=whsec_… PORT=9000 python aiohttp_receiver.py
"""

import asyncio
import os

from aiohttp import web
from standardwebhooks.webhooks import Webhook

webhook = Webhook(os.environ["WEBHOOK_SECRET"])
seen: set[str] = set()  # yours: a table, with the id as its key
at_work: set[asyncio.Task[None]] = set()


async def receive(request: web.Request) -> web.Response:
    body = (
        await request.read()
    )  # the bytes as they came: a body that was parsed and written again has another signature
    headers = {name.lower(): value for name, value in request.headers.items()}
    try:
        event = webhook.verify(body, headers)
    except Exception:  # hostile input raises more than WebhookVerificationError here
        return web.Response(status=400, text="the signature does not fit")
    if headers["webhook-id"] not in seen:  # a delivery may come twice, and has the same id then
        seen.add(headers["webhook-id"])
        task = asyncio.create_task(work(event))  # answer first, work afterwards: 15 seconds is all there is
        at_work.add(task)
        task.add_done_callback(at_work.discard)
    return web.Response(status=204)


async def work(event: dict) -> None:
    print(event["type"], event["data"]["id"], event["data"].get("fine_tuned_model"), flush=True)


app = web.Application()
app.router.add_post("/hooks", receive)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "9000")), print=None)
