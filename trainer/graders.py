"""Graders of reinforcement, and the routes below /fine_tuning/alpha/graders."""

import asyncio
import contextlib
import re
import time
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from wire import grading
from wire.bodies import RUN_GRADER, VALIDATE_GRADER
from wire.http import read_json, reply
from wire.problems import bad

#: Of OpenAI's metrics, `cosine` needs a model, and `meteor` a thesaurus.
METRICS = ("fuzzy_match", "bleu", "gleu", *(f"rouge_{n}" for n in range(1, 6)), "rouge_l")
_NAME = re.compile(r"item\..+|sample\.output_text|sample\.output_json([.\[].*)?")


def check(grader: Mapping[str, Any], param: str = "grader") -> None:
    """Raises Problem 400 for a grader that cannot be run here. `param`: the member that it was given as."""
    grading.check(grader, param)
    for one in grading.several(grader):
        metric = one.get("evaluation_metric", METRICS[0])
        if metric not in METRICS:
            words = f"Metric '{metric}' is not offered, only: {', '.join(METRICS)}."
            raise bad(words, param=f"{param}.evaluation_metric", code="unsupported_grader")
    for name in grading.names(grader):
        if not _NAME.fullmatch(name):
            known = "item.…, sample.output_text and sample.output_json"
            words = f"'{{{{ {name[:100]} }}}}' is not known here. A grader may name {known}."
            raise bad(words, param=param, code="invalid_value")
    if grader["type"] == "multi":
        with contextlib.suppress(ArithmeticError):
            _check_formula(grader, f"{param}.calculate_output")


def _check_formula(grader: Mapping[str, Any], param: str) -> None:
    try:
        grading.formula(grader["calculate_output"], dict.fromkeys(grader["graders"], 0.5))
    except ValueError as error:
        names = ", ".join(grader["graders"])
        words = f"'{grader['calculate_output']}' is no formula of {names}: write names of letters and _, numbers, "
        words += "+ - * / ^, and min, max, abs, floor, ceil, exp, sqrt, log."
        raise bad(words, param=param, code="invalid_value") from error


async def validate(request: web.Request) -> web.StreamResponse:
    body = await read_json(request)
    VALIDATE_GRADER(body, "")
    check(body["grader"])
    return reply({"grader": body["grader"]})


async def run(request: web.Request) -> web.StreamResponse:
    body = await read_json(request)
    RUN_GRADER(body, "")
    check(body["grader"])
    began = time.perf_counter()
    graded = await asyncio.to_thread(
        grading.grade, body["grader"], body["model_sample"], body.get("item", {}), _similarity
    )
    return reply(grading.shown(body["grader"], graded, time.perf_counter() - began))


def _similarity(metric: str, text: str, reference: str) -> float:
    from trainer.similarity import similarity  # noqa: PLC0415  (half a second: the API starts without it)

    return similarity(metric, text, reference)
