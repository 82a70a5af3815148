"""The routes below /fine_tuning/alpha/graders."""

import time

from aiohttp import web

from simulator import grading
from wire.bodies import RUN_GRADER, VALIDATE_GRADER
from wire.http import read_json, reply

_FLAGS = (
    "formula_parse_error", "sample_parse_error", "truncated_observation_error", "unresponsive_reward_error",
    "invalid_variable_error", "other_error", "python_grader_server_error", "python_grader_runtime_error",
    "model_grader_server_error", "model_grader_refusal_error", "model_grader_parse_error",
)  # fmt: skip
_DETAILS = (
    "python_grader_server_error_type", "python_grader_runtime_error_details", "model_grader_server_error_details",
)  # fmt: skip


async def validate(request: web.Request) -> web.StreamResponse:
    body = await read_json(request)
    VALIDATE_GRADER(body, "")
    return reply({"grader": body["grader"]})


async def run(request: web.Request) -> web.StreamResponse:
    body = await read_json(request)
    RUN_GRADER(body, "")
    began = time.perf_counter()
    grader, item = body["grader"], body.get("item", {})
    graded = grading.grade(grader, body["model_sample"], item)
    errors: dict[str, object] = {name: name in graded.errors for name in _FLAGS}
    errors |= dict.fromkeys(_DETAILS)
    return reply(
        {
            "reward": graded.reward,
            "metadata": {
                "name": grader["name"],
                "type": grader["type"],
                "errors": errors,
                "execution_time": time.perf_counter() - began,
                "scores": graded.parts,
                "token_usage": None,
                "sampled_model_name": None,
            },
            "sub_rewards": graded.parts,
            "model_grader_token_usage_per_model": {},
        }
    )
