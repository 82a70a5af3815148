"""Azure's dialect, uploads, graders, outgoing webhooks, and the command line."""

import asyncio
import sys

import openai
import pytest
from aiohttp import web

from simulator.settings import from_environment
from tests.fakes.serving import serving
from tests.integration.simulator.conftest import Bench, Start

MODEL = "gpt-4.1-mini-2025-04-14"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


async def test_azure_speaks_its_dialect(start: Start) -> None:
    async with start(azure_deployed=True) as bench:
        jobs, file = bench.azure.fine_tuning.jobs, await bench.upload(azure=True)
        raw = await jobs.with_raw_response.create(model=MODEL, training_file=file, suffix="birds")
        assert raw.status_code == 201
        job = raw.parse()
        shown = job.to_dict()
        assert (shown["status"], shown["organization_id"], shown["result_files"]) == ("created", None, None)
        assert job.hyperparameters.n_epochs == -1
        await bench.simulator.advance(40)
        job = await jobs.retrieve(job.id)
        assert (str(job.status), job.hyperparameters.n_epochs) == ("pending", 8)
        await bench.simulator.advance(600)
        job = await jobs.retrieve(job.id)
        assert job.status == "succeeded"
        words = [event.message async for event in jobs.list_events(job.id)]
        assert words[0] == "Job succeeded."
        assert words[-1] == "Job enqueued. Waiting for jobs ahead to complete."
        assert any(word.startswith("Step 10: training loss=") for word in words)
        assert job.fine_tuned_model is not None
        answer = await bench.azure.chat.completions.create(
            model=job.fine_tuned_model, messages=[{"role": "user", "content": "Where does heron number 6 sleep?"}]
        )
        assert answer.choices[0].message.content == "In nest 6, like any heron."
        with pytest.raises(openai.BadRequestError, match="maximum length 40"):
            await jobs.create(model=MODEL, training_file=file, suffix="x" * 41)
        # Another upstream: nothing of it is known at /v1.
        assert [found async for found in bench.client.fine_tuning.jobs.list()] == []


async def test_at_azure_a_tuned_model_must_be_deployed(bench: Bench) -> None:
    job = await bench.azure.fine_tuning.jobs.create(model=MODEL, training_file=await bench.upload(azure=True))
    await bench.simulator.advance(700)
    model = (await bench.azure.fine_tuning.jobs.retrieve(job.id)).fine_tuned_model
    assert model is not None
    with pytest.raises(openai.NotFoundError, match="must be deployed"):
        await bench.azure.chat.completions.create(model=model, messages=[{"role": "user", "content": "?"}])


async def test_azure_runs_three_and_queues_twenty(bench: Bench) -> None:
    jobs, file = bench.azure.fine_tuning.jobs, await bench.upload(azure=True)
    made = [await jobs.create(model=MODEL, training_file=file) for _ in range(23)]
    with pytest.raises(openai.RateLimitError, match="concurrent"):
        await jobs.create(model=MODEL, training_file=file)

    async def statuses() -> list[str]:
        return [str(job["status"]) for job in await bench.simulator.jobs()]

    await bench.simulator.advance(200)
    assert await statuses() == ["running"] * 3 + ["queued"] * 20
    await jobs.cancel(made[1].id)
    assert await statuses() == ["running", "cancelled", "running", "running"] + ["queued"] * 19
    await bench.simulator.advance(265)
    assert (await statuses())[:6] == ["succeeded", "cancelled", "succeeded", "running", "running", "running"]
    await bench.simulator.advance(9 * 400)
    assert set(await statuses()) == {"succeeded", "cancelled"}


async def test_uploads_that_do_not_end_well(bench: Bench) -> None:
    uploads = bench.client.uploads
    made = [
        await uploads.create(bytes=6, filename="a.jsonl", mime_type="application/jsonl", purpose="fine-tune")
        for _ in range(3)
    ]
    parts = [(await uploads.parts.create(made[0].id, data=half)).id for half in (b"abc", b"def")]
    with pytest.raises(openai.BadRequestError, match="announced with 6"):
        await uploads.complete(made[0].id, part_ids=parts[:1])
    with pytest.raises(openai.BadRequestError, match="md5"):
        await uploads.complete(made[0].id, part_ids=parts, md5="0" * 32)
    with pytest.raises(openai.BadRequestError, match="No such part"):
        await uploads.complete(made[1].id, part_ids=parts)
    turned = await uploads.complete(made[0].id, part_ids=parts[::-1])
    assert turned.file is not None
    assert (await bench.client.files.content(turned.file.id)).content == b"defabc"
    assert (await uploads.cancel(made[1].id)).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="cancelled"):
        await uploads.parts.create(made[1].id, data=b"abc")
    await bench.simulator.advance(3600)
    with pytest.raises(openai.BadRequestError, match="expired"):
        await uploads.parts.create(made[2].id, data=b"abc")


async def test_a_part_has_at_most_64_mebibytes(bench: Bench) -> None:
    most = 64 * 2**20
    made = await bench.client.uploads.create(
        bytes=most + 1, filename="a.jsonl", mime_type="application/jsonl", purpose="fine-tune"
    )
    assert (await bench.client.uploads.parts.create(made.id, data=b"x" * most)).upload_id == made.id
    with pytest.raises(openai.APIStatusError) as caught:
        await bench.client.uploads.parts.create(made.id, data=b"x" * (most + 1))
    assert caught.value.status_code == 413


async def test_graders(bench: Bench) -> None:
    graders = bench.client.fine_tuning.alpha.graders
    same = {
        "type": "string_check",
        "name": "same",
        "input": "{{ sample.output_text }}",
        "reference": "{{item.answer}}",
        "operation": "eq",
    }
    alike = {
        "type": "text_similarity",
        "name": "alike",
        "input": "{{sample.output_text}}",
        "reference": "{{item.answer}}",
        "evaluation_metric": "fuzzy_match",
    }
    both = {
        "type": "multi",
        "name": "both",
        "graders": {"same": same, "alike": alike},
        "calculate_output": "(same + 3 * alike) / 4",
    }
    for one in (same, [same]):  # recorded: the graders of a `multi` have names
        with pytest.raises(openai.BadRequestError, match="expected an object") as caught:
            await graders.validate(grader=both | {"graders": one})  # type: ignore[arg-type]
        assert str(caught.value.param).startswith("grader.graders")
    rewards = []
    for grader in (same, alike, both):
        ran = await graders.run(grader=grader, model_sample="owl", item={"answer": "owls"})  # type: ignore[arg-type]
        assert ran.metadata.name == grader["name"]
        rewards.append(ran.reward)
    assert rewards[0] == 0
    assert rewards[1] == pytest.approx(6 / 7, abs=1e-5)
    assert rewards[2] == pytest.approx(18 / 28, abs=1e-5)
    lost = await graders.run(grader=same, model_sample="owl", item={})  # type: ignore[arg-type]
    assert (lost.reward, lost.metadata.errors.invalid_variable_error) == (0, True)
    odd = await graders.run(
        grader={**both, "calculate_output": "__import__('os')"},  # type: ignore[arg-type]
        model_sample="owl",
        item={"answer": "owl"},
    )
    assert odd.metadata.errors.formula_parse_error is True
    assert (await graders.validate(grader=same)).grader is not None  # type: ignore[arg-type]
    with pytest.raises(openai.BadRequestError) as caught:
        await graders.validate(grader={**same, "operation": "is"})  # type: ignore[arg-type]
    assert caught.value.param == "grader.operation"


async def test_the_end_of_a_job_is_posted_and_signed(start: Start) -> None:
    got: asyncio.Queue[tuple[bytes, dict[str, str]]] = asyncio.Queue()
    answers = [500]

    async def receive(request: web.Request) -> web.Response:
        got.put_nowait((await request.read(), dict(request.headers)))
        return web.Response(status=answers.pop() if answers else 200)

    app = web.Application()
    app.router.add_post("/hook", receive)
    async with serving(app) as root:
        url = f"{root}/hook"
        async with start(webhook_url=url, webhook_secret=SECRET) as bench:
            file = await bench.upload()
            job = await bench.client.fine_tuning.jobs.create(model=MODEL, training_file=file)
            await bench.simulator.advance(700)
            seen = [await asyncio.wait_for(got.get(), 60) for _ in range(2)]  # the first was refused
            stopped = await bench.client.fine_tuning.jobs.create(model=MODEL, training_file=file)
            await bench.client.fine_tuning.jobs.cancel(stopped.id)
            seen.append(await asyncio.wait_for(got.get(), 60))
            bad = await bench.client.fine_tuning.jobs.create(model=f"{MODEL}+fail", training_file=file)
            await bench.simulator.advance(700)
            seen.append(await asyncio.wait_for(got.get(), 60))
            events = [bench.client.webhooks.unwrap(body, headers, secret=SECRET) for body, headers in seen]
    assert [(event.type, event.data.to_dict()) for event in events] == [
        ("fine_tuning.job.succeeded", {"id": job.id}),
        ("fine_tuning.job.succeeded", {"id": job.id}),
        ("fine_tuning.job.cancelled", {"id": stopped.id}),
        ("fine_tuning.job.failed", {"id": bad.id}),
    ]
    assert events[0].id == events[1].id


def test_settings_come_from_the_environment_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEHOOK_SIMULATOR_SPEED", "50")
    monkeypatch.setenv("TUNEHOOK_SIMULATOR_SLOTS", "7")
    monkeypatch.setenv("TUNEHOOK_SIMULATOR_PORT", "")
    found = from_environment(slots="0")
    assert (found.speed, found.slots, found.port) == (50, 0, 4010)


@pytest.mark.processes
async def test_it_starts_by_one_command_and_says_where_it_is() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulator", "--port", "0", "--speed", "100", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        url = (await asyncio.wait_for(process.stdout.readline(), 60)).decode().strip()
        assert url.endswith("/v1")
        async with openai.AsyncOpenAI(base_url=url, api_key="k", max_retries=0) as client:
            assert (await client.models.retrieve(MODEL)).shutdown_date == "2027-01-14"
    finally:
        process.terminate()
    assert await asyncio.wait_for(process.wait(), 60) == 0


@pytest.mark.processes
@pytest.mark.parametrize(
    ("options", "said"),
    [(["--speed", "fast"], "simulator: speed: "), (["--webhook-url", "http://x.example"], "simulator: options: ")],
)
async def test_a_senseless_option_is_said_in_one_line(options: list[str], said: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulator", *options, stderr=asyncio.subprocess.PIPE
    )
    _, words = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 2
    assert words.decode().startswith(said)
    assert len(words.decode().splitlines()) == 1
