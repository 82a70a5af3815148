"""The main job with an upstream that others wrote: @copilotkit/aimock. No simulator of ours is asked anything."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.compat import node
from tests.fakes.datasets import dataset
from tests.fakes.deployment import Deployment, deployment
from tests.fakes.receiver import running_receiver

MODEL = "gpt-4.1-mini-2025-04-14"
FIXTURES = {"fixtures": [{"match": {"userMessage": "owl"}, "response": {"content": "In nest 7."}}]}


@pytest.fixture(scope="module")
def town(installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    directory = tmp_path_factory.mktemp("aimock")
    fixtures = directory / "fixtures.json"
    fixtures.write_text(json.dumps(FIXTURES))
    arguments = ("-h", "127.0.0.1", "-p", "PORT", "-f", str(fixtures))
    with (
        node.server("llmock", *arguments, output=directory / "aimock.log") as port,
        deployment(
            directory / "town", simulators={"openai": ()}, OPENAI_BASE_URL=f"http://127.0.0.1:{port}/v1"
        ) as town,
    ):
        yield town


async def test_the_main_job_ends_in_a_webhook_with_the_models_name(town: Deployment) -> None:
    caller = await town.key("aimock")
    async with (
        running_receiver() as receiver,
        openai.AsyncOpenAI(base_url=town.url, api_key=caller.key, max_retries=0) as client,
    ):
        content = dataset()
        file = await client.files.create(file=("train.jsonl", content), purpose="fine-tune")
        job = await client.fine_tuning.jobs.create(
            training_file=file.id, model=MODEL, suffix="owls", extra_body={"callback_url": receiver.url}
        )
        (hook,) = await receiver.wait(1, seconds=60)
        event: Any = client.webhooks.unwrap(hook.body, dict(hook.headers), secret=caller.callback_secret)
        assert event.type == "fine_tuning.job.succeeded", hook.body
        assert event.data.id == job.id
        model = hook.event["data"]["fine_tuned_model"]
        assert model.startswith("ft:gpt-4.1-mini")
        asked: Any = [{"role": "user", "content": "Where does the owl sleep?"}]
        chat = await client.chat.completions.create(model=model, messages=asked)
        assert chat.choices[0].message.content == "In nest 7."
        ended = await client.fine_tuning.jobs.retrieve(job.id)
        assert (ended.status, ended.fine_tuned_model) == ("succeeded", model)
        said = [line.message async for line in client.fine_tuning.jobs.list_events(job.id, limit=100)]
        assert len(said) > 3
