"""The routes below /fine_tuning/alpha/graders. Similarities are of one measure for all metrics."""

import difflib
import time

from aiohttp import web

from wire import grading
from wire.bodies import RUN_GRADER, VALIDATE_GRADER
from wire.http import read_json, reply


async def validate(request: web.Request) -> web.StreamResponse:
    body = await read_json(request)
    VALIDATE_GRADER(body, "")
    return reply({"grader": body["grader"]})


async def run(request: web.Request) -> web.StreamResponse:
    body = await read_json(request)
    RUN_GRADER(body, "")
    grading.check(body["grader"])
    began = time.perf_counter()
    graded = grading.grade(body["grader"], body["model_sample"], body.get("item", {}), _alike)
    return reply(grading.shown(body["grader"], graded, time.perf_counter() - began))


def _alike(metric: str, given: str, reference: str) -> float:
    return difflib.SequenceMatcher(None, given, reference, autojunk=False).ratio()
