"""The least that could answer: aiohttp, redis-py, the same Redis commands as the API, and nothing else.

No checks, no records, no errors. It asks for the key, never compares it; what is stored is what is answered.

    python -m benchmarks.bare '{"key_id": …, "file_id": …}'      (REDIS_URL in the environment)
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time

from aiohttp import web
from redis.asyncio import Redis

from tunehook import settings
from tunehook.model.job import FileRef, Job, JobSpec, Message
from tunehook.model.record import new_id
from tunehook.store.engine import keys
from tunehook.store.engine.scripts import SCRIPTS
from tunehook.store.store import Store

#: Stands in the prepared script arguments where each job's own id goes.
PLACE = "ftjob-000000000000000000000000"


class Bare:
    def __init__(self, url: str, key_id: str, file_id: str, sha256: str) -> None:
        self._redis = Redis.from_url(url, decode_responses=True, max_connections=64)
        self._commit = self._redis.register_script(SCRIPTS["commit"])
        self._key = keys.api_key(key_id)
        self._file = keys.file(file_id)
        self._subscriptions = keys.subscriptions("default")
        job = Job(
            id=PLACE,
            project="default",
            key_id=key_id,
            created_at=int(time.time()),
            spec=JobSpec(model="gpt-4.1-mini-2025-04-14", training_file=file_id, seed=42, metadata={"a": "b"}),
            upstream="openai",
            callback_url="http://127.0.0.1:9/hook",
            training=FileRef(id=file_id, sha256=sha256, bytes=1),
            request_sha256="0" * 64,
        )
        change = Store(self._redis).jobs.submission(job)
        change.do("SET", keys.repeat(key_id, "0" * 64), job.id, "EX", 900)
        change.say(job.id, Message(created_at=job.created_at, message=f"Accepted fine-tuning job: {job.id}"))
        self._keys, self._arguments = change.arguments()

    async def retrieve(self, request: web.Request) -> web.Response:
        await self._redis.get(self._key)
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.hgetall(keys.job(request.match_info["id"]))
            _, fields = await pipe.execute()
        return web.Response(text=fields["doc"], content_type="application/json")

    async def create(self, request: web.Request) -> web.Response:
        json.loads(await request.read())
        job_id = new_id("ftjob-")
        await self._redis.get(self._key)
        await self._redis.hget(self._file, "doc")
        await self._redis.hgetall(self._subscriptions)
        await self._commit(
            keys=[key.replace(PLACE, job_id) for key in self._keys],
            args=[text.replace(PLACE, job_id) for text in self._arguments],
        )
        return web.json_response({"id": job_id, "object": "fine_tuning.job"})


async def serve(bare: Bare) -> None:
    app = web.Application()
    app.router.add_post("/v1/fine_tuning/jobs", bare.create)
    app.router.add_get("/v1/fine_tuning/jobs/{id}", bare.retrieve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)  # as the API does: what is compared is the handlers
    print(f"listening on http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Bare(settings.load().redis_url or "", **json.loads(sys.argv[1]))))
