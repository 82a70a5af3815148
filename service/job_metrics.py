"""/v1/fine_tuning/jobs/{id}/metrics: the curves of a training, as JSON or CSV."""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

from service.event_stream import FOLLOW_SECONDS
from service.requests import PARSING, accepts, caller_of, context_of, integer, known_only
from tunehook.model import metrics
from tunehook.model.job import Stage

#: Longer answers are compressed in a thread.
INLINE_BYTES = 64 * 1024
#: The answer to more rows is made in a thread, one at a time.
INLINE_ROWS = 500


async def retrieve(request: web.Request) -> web.Response:
    known_only(request, "after_step")
    after = integer(request, "after_step", -1, 0, 9_999_999_999)
    store, job_id = context_of(request).store, request.match_info["fine_tuning_job_id"]
    job = (await store.jobs.read(job_id, caller_of(request).project)).job
    if job.stage is Stage.TRACKED:
        await store.job_log.follow(job.id, FOLLOW_SECONDS)
    rows = await store.job_metrics.read(job.id)
    as_csv = accepts(request, "text/csv")

    def _body() -> str:
        table = metrics.columns(rows, after)
        if as_csv:
            return metrics.as_csv(table)
        last = table[metrics.STEP][-1] if table[metrics.STEP] else None
        shown = {"object": "fine_tuning.job.metrics", "fine_tuning_job_id": job.id, "last_step": last, "columns": table}
        return json.dumps(shown)

    if len(rows) <= INLINE_ROWS:
        body = _body()
    else:
        async with request.app[PARSING]:
            body = await asyncio.to_thread(_body)
    response = web.Response(
        text=body, content_type="text/csv" if as_csv else "application/json", zlib_executor_size=INLINE_BYTES
    )
    response.headers["vary"] = "Accept, Accept-Encoding"
    if "gzip" in request.headers.get("accept-encoding", "").lower():
        response.enable_compression(web.ContentCoding.gzip)
    return response
