"""What `tunehook retrain` asks in a terminal, and how `--model OLD=NEW` and `--options` are passed on."""

import asyncio
import os
import pty
import subprocess
import sys

import pytest

from tests.fakes.nebius import TUNABLE
from tests.integration.service.conftest import Api
from tests.integration.service.test_retrain import GPT, api, jobs, source

__all__ = ["api"]
pytestmark = pytest.mark.processes

COMMAND = [sys.executable, "-c", "import sys; from cli.main import main; sys.exit(main())", "retrain"]
OTHER = "gpt-4.1-nano-2025-04-14"


async def told(api: Api, *arguments: str, typed: str | None = None) -> tuple[int, str]:
    """Runs the command; returns its status and output. `typed`: into its terminal; None: it has none."""

    def _run() -> tuple[int, str]:
        ours, its = pty.openpty()
        try:
            os.write(ours, (typed or "").encode())
            done = subprocess.run(
                [*COMMAND, "--to", "nebius", "--url", api.root, "--key", api.key, *arguments],
                stdin=its if typed is not None else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            os.close(ours)
            os.close(its)
        return done.returncode, done.stdout

    return await asyncio.to_thread(_run)


@pytest.mark.parametrize(("typed", "trained"), [("\n", 0), ("n\n", 0), ("yes, all\n", 0), ("\x04", 0), ("Y\n", 1)])
async def test_it_trains_only_after_a_yes(api: Api, typed: str, trained: int) -> None:
    first = await source(api)
    status, text = await told(api, first, "--model", TUNABLE, typed=typed)
    assert "Train 1 jobs for about $" in text
    assert "[y/N]" in text
    assert len(await jobs(api)) == 1 + trained, text
    assert status == (0 if trained else 1)
    assert "Traceback" not in text
    assert ("Nothing was trained." in text) is not bool(trained)


async def test_each_base_model_has_its_own_new_model_and_options_go_to_all(api: Api) -> None:
    two = [await source(api), await source(api, model=OTHER)]
    status, text = await told(api, *two, "--model", f"{GPT}={TUNABLE}", "--options", '{"lora_r": 16}', "--yes")
    assert status == 1
    assert f"no --model for {OTHER}" in text
    made = [await api.ctx.store.jobs.read(one) for one in await jobs(api) if one not in two]
    assert [(one.job.retrained_from, one.job.spec.model) for one in made] == [(two[0], TUNABLE)]
    assert (made[0].job.spec.options or {})["lora_r"] == 16
    status, text = await told(api, two[1], "--model", f"{GPT}=another", "--model", TUNABLE, "--yes")
    assert status == 0, text
    made = [await api.ctx.store.jobs.read(one) for one in await jobs(api)]
    assert {one.job.retrained_from: one.job.spec.model for one in made}[two[1]] == TUNABLE  # NEW is for all others


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["--options", "{"], "--options is not JSON"),
        (["--options", "[]"], "--options must be an object"),
        (["--model", f"{GPT}="], "write NEW once"),
        (["--model", f"{GPT}={TUNABLE}", "--model", f"{GPT}={OTHER}"], "write NEW once"),
    ],
)
async def test_arguments_that_say_nothing_train_nothing(api: Api, wrong: list[str], words: str) -> None:
    first = await source(api)
    status, text = await told(api, first, "--model", TUNABLE, "--yes", *wrong)
    assert status != 0
    assert words in text
    assert "Traceback" not in text
    assert await jobs(api) == [first]
