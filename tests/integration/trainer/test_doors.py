"""What the trainer refuses, whom it lets in, and the chat that it passes on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.fakes.loop_guard import nothing_blocks
from tests.fakes.trainer import BASE, running_trainer, until
from tests.fakes.valkey import Valkey
from tests.integration.trainer.conftest import Bench


@pytest.mark.parametrize(
    ("members", "param", "code"),
    [
        ({"model": "gpt-4.1-mini"}, "model", "model_not_available"),
        ({"model": "../../etc"}, "model", "model_not_available"),
        ({"model": "missing"}, "model", "model_not_fetched"),
        ({"model": "missing", "training": "full"}, "training", "invalid_value"),
        ({"training": "qlora"}, "training", "invalid_value"),
        ({"training": "half"}, "training", "invalid_value"),
        ({"training": "full", "lora_r": 8}, "lora_r", "invalid_value"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "p"}}]}, "integrations", "invalid_value"),
    ],
)
async def test_what_cannot_be_trained_is_refused_at_the_create(
    bench: Bench, members: dict[str, object], param: str, code: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await bench.create(**members)
    assert (caught.value.param, caught.value.code) == (param, code)
    assert [job async for job in bench.client.fine_tuning.jobs.list()] == []


CHECK = {
    "type": "string_check",
    "name": "same",
    "input": "{{sample.output_text}}",
    "reference": "{{item.answer}}",
    "operation": "eq",
}
BOTH = {"type": "multi", "name": "both", "graders": {"same": CHECK}, "calculate_output": "2 * same"}
ALIKE = CHECK | {"type": "text_similarity", "evaluation_metric": "fuzzy_match"}


@pytest.mark.parametrize(
    ("grader", "param"),
    [
        ({"type": "python", "name": "p", "source": "def grade(sample, item): return 1.0"}, "grader.type"),
        ({"type": "score_model", "name": "s", "model": "o3", "input": []}, "grader.type"),
        (BOTH | {"graders": {"inner": BOTH}}, "grader.type"),
        (BOTH | {"calculate_output": "2 * other"}, "grader.calculate_output"),
        (BOTH | {"calculate_output": "__import__('os')"}, "grader.calculate_output"),
        (CHECK | {"input": "{{sample.output_tools[0].function.name}}"}, "grader"),
        (CHECK | {"input": "{{sample.output_texts}}"}, "grader"),
        ({**ALIKE, "evaluation_metric": "meteor"}, "grader.evaluation_metric"),
    ],
)
async def test_a_grader_that_cannot_run_here_is_refused_everywhere(bench: Bench, grader: Any, param: str) -> None:
    grader = {name: value for name, value in grader.items() if name != "operation" or grader["type"] == "string_check"}
    graders = bench.client.fine_tuning.alpha.graders
    file = await bench.upload()
    method = {"type": "reinforcement", "reinforcement": {"grader": grader}}
    for call, place in (
        (graders.validate(grader=grader), ""),
        (graders.run(grader=grader, model_sample="x"), ""),
        (bench.create(training_file=file, validation_file=file, method=method), "method.reinforcement."),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            await call
        assert caught.value.param == f"{place}{param}"


async def test_a_job_by_reinforcement_shows_its_grader_and_fails_without_prompts(bench: Bench) -> None:
    rows = b'{"messages": [{"role": "user", "content": "?"}], "answer": "x"}\n' * 10
    file = (await bench.client.files.create(file=("r.jsonl", rows), purpose="fine-tune")).id
    given = {"grader": CHECK, "hyperparameters": {"compute_multiplier": 0.5, "batch_size": 2}}
    method = {"type": "reinforcement", "reinforcement": given}
    job = await bench.create(training_file=file, validation_file=file, method=method)
    shown = job.to_dict()["method"]["reinforcement"]  # type: ignore[index]
    assert shown["grader"] == CHECK
    assert shown["hyperparameters"] == {
        "n_epochs": 10,
        "batch_size": 2,
        "learning_rate_multiplier": 1.0,
        "compute_multiplier": 0.5,
        "eval_interval": 5,
        "eval_samples": 4,
    }
    given["hyperparameters"] = {"reasoning_effort": "high"}
    with pytest.raises(openai.BadRequestError, match="reasoning effort is not offered"):
        await bench.create(training_file=file, validation_file=file, method=method)
    chats = await bench.create(validation_file=file, method={**method, "reinforcement": {"grader": CHECK}})
    assert (await bench.until(chats.id, "failed")).error.code == "invalid_training_file"  # type: ignore[union-attr]


async def test_a_base_whose_answers_have_channels_is_not_reinforced(bench: Bench) -> None:
    template = bench.trainer.config.data_dir / "bases" / BASE / "chat_template.jinja"
    template.write_text("<|channel|>{% generation %}{% endgeneration %}")
    file = await bench.upload()
    method = {"type": "reinforcement", "reinforcement": {"grader": CHECK}}
    with pytest.raises(openai.BadRequestError, match="several channels"):
        await bench.create(training_file=file, validation_file=file, method=method)


async def test_a_base_whose_template_has_no_training_form_is_refused(bench: Bench) -> None:
    (bench.trainer.config.data_dir / "bases" / BASE / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(openai.BadRequestError) as caught:
        await bench.create()
    assert caught.value.code == "model_not_trainable"


async def test_a_full_disk_refuses_files_and_jobs(valkey: Valkey, tmp_path: Path) -> None:
    async with running_trainer(tmp_path / "t", valkey.url) as trainer:
        bench = Bench(trainer)
        file = await bench.upload()
        await trainer.stop()
        trainer.config = trainer.config.model_copy(update={"min_free_bytes": 2**60})
        await trainer.start()
        for call in (bench.upload(), bench.create(training_file=file)):
            with pytest.raises(openai.RateLimitError, match="disk is nearly full") as caught:
                await call
            assert (caught.value.code, caught.value.response.headers["Retry-After"]) == ("disk_full", "600")
        await bench.client.close()


async def test_keys_open_their_own_project_alone(valkey: Valkey, tmp_path: Path) -> None:
    async with running_trainer(tmp_path / "t", valkey.url, keys="one:sk-1,two:sk-2") as trainer:
        bench = Bench(trainer)
        with pytest.raises(openai.AuthenticationError):
            await bench.client.models.list()
        one, two = (bench.client.with_options(api_key=f"sk-{n}") for n in (1, 2))
        bench.client = one
        job = await bench.create(metadata={"tunehook": "m"})
        assert [found.id async for found in one.fine_tuning.jobs.list()] == [job.id]
        assert [found async for found in two.fine_tuning.jobs.list()] == []
        for call in (two.fine_tuning.jobs.cancel(job.id), two.files.content(job.training_file)):
            with pytest.raises(openai.NotFoundError):
                await call
        await bench.client.close()


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[str, list[Any]]]:
    """A chat server that says which model it was asked for."""
    asked: list[Any] = []

    async def complete(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        asked.append(body)
        row = {"id": "c", "object": "chat.completion", "created": 1, "model": "/a/path", "choices": []}
        if not body.get("stream"):
            return web.json_response(row)
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        for chunk in (b'data: {"id": "c", "object": "chat.completion.chunk", "created": 1, ', b'"model": "/a/path", '):
            await stream.write(chunk)
        await stream.write(b'"choices": []}\n\ndata: [DONE]\n\n')
        return stream

    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    async with TestServer(app) as server:
        yield str(server.make_url("/v1")), asked


async def test_chat_is_passed_on_for_known_models_and_waits_while_a_job_trains(valkey: Valkey, tmp_path: Path) -> None:
    async with serving() as (url, asked), running_trainer(tmp_path / "t", valkey.url, serving_url=url) as trainer:
        bench = Bench(trainer)
        chat = bench.client.chat.completions
        said: list[Any] = [{"role": "user", "content": "?"}]

        async def answers() -> bool:
            try:
                return (await chat.create(model=BASE, messages=said)).model == BASE
            except openai.InternalServerError as stopped:
                return stopped.response.headers["Retry-After"] != "30"

        with nothing_blocks():
            await until(answers, bool)
        chunks = [chunk async for chunk in await chat.create(model=BASE, messages=said, stream=True)]
        assert [chunk.model for chunk in chunks] == [BASE]
        count = len(asked)
        for name in ("missing", "/etc", "ft:tiny:local::none", str(trainer.config.data_dir)):
            with pytest.raises(openai.NotFoundError):
                await chat.create(model=name, messages=said)
        assert len(asked) == count, "nothing was asked under a name that is not known"
        job = await bench.create()  # there is no worker, so it waits and holds the slot
        await until(answers, lambda found: not found)
        await bench.client.fine_tuning.jobs.cancel(job.id)
        await until(answers, bool)
        await bench.client.close()
