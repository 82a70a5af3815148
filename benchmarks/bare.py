"""The frozen baseline: aiohttp, redis-py, the Redis commands of f5706de (0.1), one log line a request, nothing else.

No checks, no records, no errors. It asks for the key, never compares it; what is stored is what is answered. It sends
what 0.1 sent, so that a command saved or added since then shows in the ratio. `frozen/` has its script and arguments.

    python -m benchmarks.bare FILE_ID      (REDIS_URL in the environment)
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
from pathlib import Path

from aiohttp import web
from redis.asyncio import Redis

from tunehook import settings
from tunehook.model.record import new_id

log = logging.getLogger("bare")
FROZEN = Path(__file__).parent / "frozen"
#: Stand in the prepared script arguments where the ids go.
JOB, FILE = "ftjob-000000000000000000000000", "file-000000000000000000000000"


class Bare:
    def __init__(self, url: str, file_id: str) -> None:
        self._redis = Redis.from_url(url, decode_responses=True, max_connections=64)
        self._commit = self._redis.register_script((FROZEN / "commit.lua").read_text())
        lines = (FROZEN / "commit.txt").read_text().splitlines()
        self._arguments = [line.replace(FILE, file_id) for line in lines]
        self._file = f"th:file:{file_id}"

    async def retrieve(self, request: web.Request) -> web.Response:
        job_id = request.match_info["id"]
        await self._redis.get("th:key:benchmark")
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.time()
            pipe.hgetall(f"th:job:{job_id}")
            _, fields = await pipe.execute()
        log.info("GET %s → 200", request.path)
        return web.Response(text=fields["doc"], content_type="application/json")

    async def create(self, request: web.Request) -> web.Response:
        json.loads(await request.read())
        job_id = new_id("ftjob-")
        await self._redis.get("th:key:benchmark")
        await self._redis.hget(self._file, "doc")
        await self._redis.hgetall("th:subscriptions:default")
        arguments = [text.replace(JOB, job_id) for text in self._arguments]
        await self._commit(keys=[f"th:job:{job_id}"], args=arguments)
        log.info("POST %s → 200 %s", request.path, job_id)
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
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(serve(Bare(settings.load().redis_url or "", sys.argv[1])))
