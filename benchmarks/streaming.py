"""What an upload is measured beside: a bare handler that takes a form, and an upstream that keeps nothing. One server.

python -m benchmarks.streaming DIRECTORY

POST /bare            a multipart form, its file written to DIRECTORY as it comes, and flushed to disk at the end
POST /bare?sha256=1   and its SHA-256 taken, which a file's identity needs
POST /v1/uploads …    OpenAI's Uploads API: bodies are thrown away. GET /uploads shows when each began and ended
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import sys
import time
from pathlib import Path
from typing import Any

from aiohttp import BodyPartReader, web

from tunehook.dataset.checker import Checker

CHUNK = 256 * 1024


class Streaming:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count()
        self._uploads: dict[str, dict[str, Any]] = {}

    async def bare(self, request: web.Request) -> web.Response:
        path = self._directory / f"bare-{next(self._numbers)}"
        digest = hashlib.sha256() if request.query.get("sha256") else None
        checker = Checker(minimum=1) if request.query.get("check") else None
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            if isinstance(part, BodyPartReader) and part.name == "file":
                with path.open("wb") as sink:
                    while chunk := await part.read_chunk(CHUNK):
                        sink.write(chunk)
                        if digest:
                            digest.update(chunk)
                        if checker:
                            checker.feed(chunk)
                    sink.flush()
                    os.fsync(sink.fileno())
        path.unlink()
        errors = checker.finish().errors if checker else None
        return web.json_response({"sha256": digest.hexdigest() if digest else None, "errors": errors})

    async def post(self, request: web.Request) -> web.Response:
        """begin, a part, complete: by the last word of the path. A whole file too."""
        word = request.path.rpartition("/")[2]
        if word == "uploads":
            return self._begin(await request.json())
        if word in ("parts", "files"):
            begun = time.time()
            size = 0
            async for chunk in request.content.iter_any():
                size += len(chunk)
            made = f"{word}-{next(self._numbers)}"
            if word == "files":
                self._uploads[made] = {"began": begun, "ended": time.time(), "bytes": size}
            return web.json_response({"id": made, "object": word})
        if word == "complete":
            upload = request.match_info["id"]
            await request.read()
            self._uploads[upload]["ended"] = time.time()
            return web.json_response({"id": upload, "file": {"id": f"file-{upload}", "object": "file"}})
        error = {
            "message": "This upstream trains nothing.",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
        return web.json_response({"error": error}, status=400)

    def _begin(self, body: dict[str, Any]) -> web.Response:
        upload = f"upload-{next(self._numbers)}"
        self._uploads[upload] = {"began": time.time(), "ended": None, "bytes": body["bytes"]}
        return web.json_response({"id": upload, "object": "upload"})

    async def uploads(self, request: web.Request) -> web.Response:
        return web.json_response(list(self._uploads.values()))

    async def nothing(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [], "has_more": False})


async def serve(directory: Path) -> None:
    streaming = Streaming(directory)
    app = web.Application(client_max_size=1024)
    app.router.add_post("/bare", streaming.bare)
    app.router.add_get("/uploads", streaming.uploads)
    app.router.add_post("/v1/uploads/{id}/complete", streaming.post)
    app.router.add_post("/v1/{rest:.*}", streaming.post)
    app.router.add_get("/v1/{rest:.*}", streaming.nothing)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"listening on http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
