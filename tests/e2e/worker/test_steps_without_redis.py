"""A step whose Redis is away ends without a word: the scheduler has one line, RQ would print each one's traceback."""

import subprocess
import sys

from tests.fakes.deployment import ROOT, SECRET_KEY

STEPS = ("job('ftjob-x')", "look_at('openai')", "copy('openai', 'x')", "ready('x')", "sweep('parked')", "deliver()")


def test_they_end_quietly() -> None:
    environment = {
        "REDIS_URL": "redis://127.0.0.1:9/0",
        "TUNEHOOK_SECRET_KEY": SECRET_KEY,
        "OPENAI_API_KEY": "sk-simulated",
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
    }
    program = "\n".join(["import asyncio", "from worker import steps", *(f"asyncio.run(steps.{one})" for one in STEPS)])
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
