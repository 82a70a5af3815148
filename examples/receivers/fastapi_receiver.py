"""A receiver with FastAPI, verified by OpenAI's own client.

pip install fastapi uvicorn openai
OPENAI_WEBHOOK_SECRET=whsec_… PORT=9000 python fastapi_receiver.py
"""

import os

import uvicorn
from fastapi import BackgroundTasks, FastAPI, Request, Response
from openai import InvalidWebhookSignatureError, OpenAI

client = OpenAI(api_key="unused", webhook_secret=os.environ["OPENAI_WEBHOOK_SECRET"])
app = FastAPI()
seen: set[str] = set()  # yours: a table, with the id as its key


@app.post("/hooks")
async def receive(request: Request, background: BackgroundTasks) -> Response:
    body = await request.body()  # the bytes as they came
    try:
        event = client.webhooks.unwrap(body, request.headers)
    except (InvalidWebhookSignatureError, ValueError):  # ValueError: a header is missing, or the body is no JSON
        return Response("the signature does not fit", status_code=400)
    if request.headers["webhook-id"] not in seen:  # a delivery may come twice, and has the same id then
        seen.add(request.headers["webhook-id"])
        background.add_task(work, event)  # runs after the answer: 15 seconds is all there is
    return Response(status_code=204)


def work(event) -> None:
    # `data` has more members than OpenAI's type names: the SDK keeps them.
    print(event.type, event.data.id, getattr(event.data, "fine_tuned_model", None), flush=True)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "9000")), log_level="warning")
