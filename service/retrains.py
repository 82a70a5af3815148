"""/v1/fine_tuning/jobs/{fine_tuning_job_id}/retrain"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from aiohttp import web

from service import error_responses
from service.answers import job_shown, json_response
from service.models import CATALOG
from service.request_log import ACCEPTED_JOB
from service.requests import BODY_BYTES, caller_of, context_of, json_object
from service.tracing import accepting
from tunehook.errors import RequestError
from tunehook.jobs import retrains
from tunehook.openai_format.request_model import parse_as
from tunehook.openai_format.retrains import RetrainRequest, dry_run_object


async def create(request: web.Request) -> web.Response:
    """Trains a job's data again. With `dry_run`: answers what would happen, and makes nothing."""
    ctx, caller, job_id = context_of(request), caller_of(request), request.match_info["fine_tuning_job_id"]
    asked = parse_as(RetrainRequest, await json_object(request, BODY_BYTES))
    offered = partial(request.app[CATALOG].all, ctx.upstreams)
    if asked.dry_run:
        found = await retrains.dry_run(ctx, caller, job_id, asked, offered)
        return json_response(dry_run_object(found, asked, _error_object(found.error)))
    with accepting(request):
        record = await retrains.retrain(ctx, caller, job_id, asked, offered)
        request[ACCEPTED_JOB] = record.job.id
    return json_response(job_shown(record))


def _error_object(error: RequestError | None) -> dict[str, Any] | None:
    """Returns the `error` of the answer that the retrain itself would get."""
    if error is None:
        return None
    found: dict[str, Any] = json.loads(error_responses.answer(error).text or "")["error"]
    return found
