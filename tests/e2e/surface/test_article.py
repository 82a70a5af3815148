"""The article of 2023, step by step, as examples/article.py does it; and `tunehook.client` against a running API."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import openai

from tests.e2e.surface.conftest import Visitor
from tunehook import client as tunehook

ARTICLE = Path(__file__).parents[3] / "examples" / "article.py"


async def test_the_article_runs_and_the_new_model_answers(visitor: Visitor, tmp_path: Path) -> None:
    script = shutil.copy(ARTICLE, tmp_path)
    environment = {name: text for name, text in os.environ.items() if not name.startswith(("TUNEHOOK_", "OPENAI_"))}
    environment |= {"OPENAI_BASE_URL": visitor.place.town.url, "OPENAI_API_KEY": visitor.caller.key}
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "12 conversations in train.jsonl"
    assert any(line.startswith("fine_tuning.job.succeeded evt_") for line in lines)
    assert lines[-1] == "It was at sea this morning; as a meunière it has never been happier."
    listed = [job async for job in await visitor.client.fine_tuning.jobs.list()]
    assert [job.status for job in listed] == ["succeeded"]
    assert f"{listed[0].id} succeeded {listed[0].fine_tuned_model}" in lines
    assert (await visitor.client.webhooks.list()).data == []
    with openai.OpenAI(base_url=visitor.place.town.url, api_key=visitor.caller.key) as client:
        events = await asyncio.to_thread(lambda: list(tunehook.events(client, listed[0].id)))
        rest = await asyncio.to_thread(lambda: list(tunehook.events(client, listed[0].id, after=events[-2]["id"])))
        assert tunehook.of(client.fine_tuning.jobs.retrieve(listed[0].id))["stage"] == "settled"
    assert events[0]["message"].startswith("Accepted fine-tuning job")
    assert rest == events[-1:]
