"""A step whose Redis is away says so in a line and ends: RQ would print each one's traceback."""

import subprocess
import sys

import pytest

from tests.fakes.deployment import ROOT, SECRET_KEY


@pytest.mark.parametrize(
    "step", ["job('ftjob-x')", "look_at('openai')", "copy('openai', 'x')", "ready('x')", "sweep('parked')", "deliver()"]
)
def test_it_ends_with_a_line(step: str) -> None:
    environment = {
        "REDIS_URL": "redis://127.0.0.1:9/0",
        "TUNEHOOK_SECRET_KEY": SECRET_KEY,
        "OPENAI_API_KEY": "sk-simulated",
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
    }
    program = f"import asyncio; from worker import steps; asyncio.run(steps.{step})"
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.splitlines() == [
        "Redis does not answer: the step is retried within 20 s: Error 111 connecting to 127.0.0.1:9. "
        "Connect call failed ('127.0.0.1', 9)."
    ]
