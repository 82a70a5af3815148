"""Whatever can be made to go wrong goes wrong, and nothing else does."""

import json
import re
import time
from pathlib import Path

import httpx2
import openai
import pytest

from simulator.faults import LIVES, REQUESTS
from simulator.problems import NAMED
from tests.integration.simulator.conftest import Bench, Start, dataset

MODEL = "gpt-4.1-mini-2025-04-14"
JOBS = r"/v1/fine_tuning/jobs$"


async def _statuses(bench: Bench) -> list[object]:
    return [job["status"] for job in await bench.simulator.jobs()]


@pytest.mark.parametrize("name", sorted(NAMED))
async def test_each_named_answer_comes_as_recorded_and_creates_nothing(bench: Bench, name: str) -> None:
    file = await bench.upload()
    with pytest.raises(openai.APIStatusError) as caught:
        await bench.client.fine_tuning.jobs.create(model=f"{MODEL}+{name}", training_file=file)
    wanted = NAMED[name]
    assert (caught.value.status_code, caught.value.code) == (wanted.status, wanted.code)
    assert caught.value.param == wanted.param
    assert caught.value.request_id
    assert await bench.simulator.jobs() == []


@pytest.mark.parametrize("way", ["metadata", "model", "rule"])
@pytest.mark.parametrize(
    ("name", "raises"),
    [
        ("after_http_500", openai.InternalServerError),
        ("after_http_429", openai.RateLimitError),
        ("after_reset", openai.APIConnectionError),
        ("after_hang", openai.APITimeoutError),
        ("after_malformed", json.JSONDecodeError),
    ],
)
async def test_an_answer_is_lost_but_the_job_is_there(
    bench: Bench, name: str, raises: type[Exception], way: str
) -> None:
    file = await bench.upload()
    if way == "rule":
        await bench.simulator.fault(name, path=JOBS, method="POST")
    with pytest.raises(raises):
        await bench.client.fine_tuning.jobs.create(
            model=f"{MODEL}+{name}" if way == "model" else MODEL,
            training_file=file,
            metadata={"simulate": name} if way == "metadata" else {"k": "v"},
            timeout=httpx2.Timeout(0.2 if name == "after_hang" else 5.0),
        )
    [job] = await bench.simulator.jobs()
    assert (job["model"], job["landed"]) == (MODEL, True)
    assert [job.id async for job in bench.client.fine_tuning.jobs.list()] == [job["id"]]
    assert (await bench.simulator.requests())[-2]["fault"] == name


@pytest.mark.parametrize(("name", "raises"), [("reset", openai.APIConnectionError), ("hang", openai.APITimeoutError)])
async def test_a_broken_connection_before_anything_was_done(bench: Bench, name: str, raises: type[Exception]) -> None:
    file = await bench.upload()
    await bench.simulator.fault(name, path=JOBS, method="POST", times=1)
    with pytest.raises(raises):
        await bench.client.fine_tuning.jobs.create(model=MODEL, training_file=file, timeout=0.3)
    assert await bench.simulator.jobs() == []
    assert (await bench.simulator.requests())[-1]["status"] is None
    await bench.client.fine_tuning.jobs.create(model=MODEL, training_file=file)
    assert len(await bench.simulator.jobs()) == 1


@pytest.mark.parametrize(
    ("name", "raises"),
    [
        ("late", openai.InternalServerError),
        ("late_http_503", openai.InternalServerError),
        ("late_reset", openai.APIConnectionError),
    ],
)
async def test_a_job_lands_late(bench: Bench, name: str, raises: type[Exception]) -> None:
    jobs = bench.client.fine_tuning.jobs
    with pytest.raises(raises):
        await jobs.create(model=f"{MODEL}+{name}:20", training_file=await bench.upload(), metadata={"k": "v"})
    [late] = await bench.simulator.jobs()
    assert late["landed"] is False
    await bench.simulator.advance(19)
    assert [job async for job in jobs.list(metadata={"k": "v"})] == []
    with pytest.raises(openai.NotFoundError):
        await jobs.retrieve(str(late["id"]))
    await bench.simulator.advance(1)
    [job] = [job async for job in jobs.list(metadata={"k": "v"})]
    assert (job.id, job.status, job.created_at) == (late["id"], "validating_files", 1_800_000_020)


async def test_a_directive_with_times_is_spent(bench: Bench) -> None:
    file = await bench.upload()
    for _ in range(2):
        with pytest.raises(openai.RateLimitError) as caught:
            await bench.client.fine_tuning.jobs.create(
                model=MODEL, training_file=file, metadata={"simulate": "slow_down:7*2"}
            )
        assert caught.value.response.headers["retry-after"] == "7"
    await bench.client.fine_tuning.jobs.create(model=MODEL, training_file=file, metadata={"simulate": "slow_down:7*2"})
    assert await _statuses(bench) == ["validating_files"]


async def test_a_rule_strikes_only_what_it_names_and_as_often_as_it_says(bench: Bench) -> None:
    await bench.simulator.fault("http_503", path=r"/files$", method="GET", times=2)
    await bench.client.models.list()
    file = await bench.upload()
    for _ in range(2):
        with pytest.raises(openai.InternalServerError):
            await bench.client.files.list()
    assert [found.id async for found in bench.client.files.list()] == [file]
    await bench.simulator.fault("http_401", times=None)
    for _ in range(3):
        with pytest.raises(openai.AuthenticationError):
            await bench.client.models.list()
    await bench.simulator.clear_faults()
    await bench.client.models.list()


async def test_lists_that_lag_and_lists_that_ignore_the_filter(bench: Bench) -> None:
    jobs, file = bench.client.fine_tuning.jobs, await bench.upload()
    first = await jobs.create(model=MODEL, training_file=file, metadata={"k": "1"})
    lagging = await jobs.create(model=f"{MODEL}+list_lag:60", training_file=file, metadata={"k": "2"})
    assert [job.id async for job in jobs.list()] == [first.id]
    assert (await jobs.retrieve(lagging.id)).id == lagging.id
    await bench.simulator.advance(60)
    assert [job.id async for job in jobs.list()] == [lagging.id, first.id]
    await bench.simulator.fault("list_lag", path=JOBS, times=1, seconds=100)
    assert [job.id async for job in jobs.list()] == []
    assert len([job.id async for job in jobs.list()]) == 2
    await bench.simulator.fault("ignore_metadata_filter", path=JOBS)
    assert len([job.id async for job in jobs.list(metadata={"k": "1"})]) == 2
    assert len([job.id async for job in jobs.list(metadata={"k": "1"})]) == 1


@pytest.mark.parametrize(
    ("name", "after_a_day", "code"),
    [
        ("fail", "failed", "server_error"),
        ("invalid_n_examples", "failed", "invalid_n_examples"),
        ("invalid_training_file", "failed", "invalid_training_file"),
        ("unsafe_file", "failed", "unsafe_file"),
        ("stall", "running", None),
        ("stall_validating", "validating_files", None),
        ("stall_queued", "queued", None),
        ("pause", "succeeded", None),
    ],
)
async def test_a_job_lives_as_told(bench: Bench, name: str, after_a_day: str, code: str | None) -> None:
    jobs = bench.client.fine_tuning.jobs
    job = await jobs.create(model=MODEL, training_file=await bench.upload(), metadata={"simulate": name})
    if name == "pause":
        await bench.simulator.advance(230)
        assert str((await jobs.retrieve(job.id)).status) == "paused"
    await bench.simulator.advance(86_400)
    job = await jobs.retrieve(job.id)
    assert job.status == after_a_day
    assert job.error is not None
    assert job.error.code == code


async def test_a_long_queue(bench: Bench) -> None:
    jobs = bench.client.fine_tuning.jobs
    job = await jobs.create(model=f"{MODEL}+long_queue", training_file=await bench.upload())
    await bench.simulator.advance(12 * 3600)
    assert (await jobs.retrieve(job.id)).status == "queued"
    await bench.simulator.advance(600)
    assert (await jobs.retrieve(job.id)).status == "succeeded"


async def test_a_fresh_model_is_not_found_for_a_while(bench: Bench) -> None:
    job = await bench.client.fine_tuning.jobs.create(
        model=f"{MODEL}+model_late:100", training_file=await bench.upload()
    )
    await bench.simulator.advance(500)
    job = await bench.client.fine_tuning.jobs.retrieve(job.id)
    assert job.fine_tuned_model is not None
    with pytest.raises(openai.NotFoundError) as caught:
        await bench.client.chat.completions.create(
            model=job.fine_tuned_model, messages=[{"role": "user", "content": "?"}]
        )
    assert caught.value.code == "model_not_found"
    await bench.simulator.advance(100)
    await bench.client.chat.completions.create(model=job.fine_tuned_model, messages=[{"role": "user", "content": "?"}])


async def test_chat_goes_wrong_by_metadata(bench: Bench) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        await bench.client.chat.completions.create(
            model="gpt-4.1",
            messages=[{"role": "user", "content": "?"}],
            metadata={"simulate": "server_is_overloaded"},
        )
    assert caught.value.code == "server_is_overloaded"


async def test_a_file_that_is_still_processed(start: Start) -> None:
    async with start(file_delay=30) as bench:
        file = await bench.upload()
        assert (await bench.client.files.retrieve(file)).status == "uploaded"
        with pytest.raises(openai.BadRequestError, match="still being processed"):
            await bench.client.fine_tuning.jobs.create(model=MODEL, training_file=file)
        await bench.simulator.advance(30)
        await bench.client.fine_tuning.jobs.create(model=MODEL, training_file=file)


async def test_an_upload_whose_answer_is_lost_or_late(bench: Bench) -> None:
    await bench.simulator.fault("after_reset", path="/files$", method="POST")
    with pytest.raises(openai.APIConnectionError):
        await bench.upload()
    assert len([file async for file in bench.client.files.list()]) == 1
    await bench.simulator.fault("late", path="/files$", method="POST", seconds=5)
    with pytest.raises(openai.InternalServerError):
        await bench.upload()
    assert len([file async for file in bench.client.files.list()]) == 1
    await bench.simulator.advance(5)
    assert len([file async for file in bench.client.files.list()]) == 2


@pytest.mark.parametrize("name", ["after_http_500", "late_reset"])
async def test_what_is_refused_anyway_is_refused(bench: Bench, name: str) -> None:
    await bench.simulator.fault(name, path=JOBS, method="POST")
    for model in (MODEL, f"{MODEL}+{name}"):
        with pytest.raises(openai.BadRequestError, match="file-none"):
            await bench.client.fine_tuning.jobs.create(model=model, training_file="file-none")
    assert await bench.simulator.jobs() == []


async def test_an_answer_is_delayed_but_right(bench: Bench) -> None:
    await bench.simulator.fault("delay", path="/models$", seconds=0.3)
    began = time.monotonic()
    assert (await bench.client.models.list()).data
    assert time.monotonic() - began >= 0.3
    await bench.client.models.list()
    assert [line["fault"] for line in await bench.simulator.requests()] == ["delay", None]


async def test_a_hang_of_so_many_seconds_ends_without_an_answer(bench: Bench) -> None:
    await bench.simulator.fault("hang", path="/models$", seconds=0.2)
    with pytest.raises(openai.APIConnectionError) as caught:
        await bench.client.models.list()
    assert not isinstance(caught.value, openai.APITimeoutError)


async def test_a_file_with_a_status_of_its_own(bench: Bench) -> None:
    sent = await bench.client.files.create(file=("t+file_error.jsonl", dataset()), purpose="fine-tune")
    assert sent.status == "error"
    assert sent.status_details == "Invalid file format. Line 1 is not a valid JSON object."
    torn = await bench.client.files.create(file=("t.jsonl", b'{"a": 1}\n{oops'), purpose="fine-tune")
    assert torn.status_details == "Invalid file format. Line 2 is not a valid JSON object."


async def test_the_journal_says_what_was_sent(bench: Bench) -> None:
    await bench.upload()
    with pytest.raises(openai.BadRequestError):
        await bench.client.fine_tuning.jobs.create(model=MODEL, training_file="file-none")
    await bench.client.chat.completions.create(model="gpt-4.1", messages=[{"role": "user", "content": "x" * 3000}])
    lines = [(line["method"], line["path"], line["status"], line["body"]) for line in await bench.simulator.requests()]
    assert lines == [
        ("POST", "/v1/files", 200, None),
        ("POST", "/v1/fine_tuning/jobs", 400, f'{{"model":"{MODEL}","training_file":"file-none"}}'),
        ("POST", "/v1/chat/completions", 200, None),  # more than 2 kB
    ]


async def test_an_unknown_name_is_refused_with_the_known_ones(bench: Bench) -> None:
    with pytest.raises(openai.BadRequestError, match="insufficient_quota") as caught:
        await bench.client.fine_tuning.jobs.create(
            model=MODEL, training_file="file-x", metadata={"simulate": "insufficient_quotas"}
        )
    assert caught.value.param == "metadata.simulate"


def test_the_page_about_the_simulator_names_every_fault() -> None:
    page = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text()
    plain = {name for name in REQUESTS | LIVES if not name.startswith(("after_", "late_"))}
    assert {name for name in plain if not re.search(f"`{name}[:`]", page)} == set()
