"""What is wrong with a dataset is known when it has arrived, and no job is made on it."""

import asyncio
import json
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from tests.e2e.datasets.conftest import MODEL, Owner
from tests.fakes.deployment import Deployment
from tests.fakes.patience import eventually
from tests.unit.dataset.lines import good, jsonl
from tunehook.files import CHECKED_AT_ONCE

GRADER = {
    "type": "string_check",
    "name": "right",
    "operation": "eq",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.bird }}",
}


def fresh(n: int, start: int = 0) -> bytes:
    """`n` good lines that no other test has."""
    mark = secrets.randbelow(10**9)
    return jsonl(*(good(mark * 1000 + number) for number in range(start, start + n)))


def preferences(n: int) -> bytes:
    answers = [[{"role": "assistant", "content": text}] for text in ("Wren", "Bat")]
    return jsonl(
        *(
            {
                "input": {"messages": [{"role": "user", "content": f"Name bird {number}."}]},
                "preferred_output": answers[0],
                "non_preferred_output": answers[1],
            }
            for number in range(n)
        )
    )


def puzzles(n: int, **more: Any) -> bytes:
    return jsonl(*({"messages": [{"role": "user", "content": f"Which bird is {i}?"}], **more} for i in range(n)))


async def test_a_good_file_is_processed_and_its_report_says_so(owner: Owner) -> None:
    file = await owner.client.files.create(file=("birds.txt", fresh(60)), purpose="fine-tune")
    assert (file.status, file.filename) == ("processed", "birds.txt")
    report = await owner.report(file.id)
    assert (report["ok"], report["format"], report["examples"], report["errors"]) == (True, "chat", 60, 0)


async def test_ten_thousand_bad_lines_are_all_counted_in_seconds(owner: Owner) -> None:
    bad = [{"messages": [{"role": "bot", "content": f"Hello {n}"}]} for n in range(10_000)]
    began = time.monotonic()
    file = await owner.client.files.create(file=("bad.jsonl", jsonl(*bad)), purpose="fine-tune")
    report = await owner.report(file.id)
    assert time.monotonic() - began < 60, "each line is reported in constant time"
    assert file.status == "error"
    details = file.status_details
    assert details is not None
    assert "Line 1:" in details
    assert len(details) < 1000, "nobody reads that"
    assert report["with_errors"] == 10_000
    assert report["counts"]["unrecognized_role"] == 10_000
    assert len(json.dumps(report)) < 100_000, "nobody reads that"
    first = report["findings"][0]
    assert (first["line"], first["severity"]) == (1, "error")
    assert "bot" in " ".join(found["message"] for found in report["findings"])


async def test_a_job_on_it_is_refused_with_the_lines(owner: Owner) -> None:
    content = fresh(12) + b'{"messages": [{"role": "bot", "content": "hi"}]}\n{oops\n'
    file_id = await owner.upload(content)
    for path in ("/fine_tuning/jobs", "/fine_tuning/jobs/estimate"):
        message = await owner.refused(400, "invalid_file", path, model=MODEL, training_file=file_id)
        assert "Line 13" in message
        assert "[unrecognized_role]" in message
        assert "report" in message
    assert (await owner.client.fine_tuning.jobs.list()).data == []
    jobs = owner.client.fine_tuning.jobs
    with pytest.raises(openai.BadRequestError) as caught:
        await jobs.create(model=MODEL, training_file=await owner.upload(fresh(12)), validation_file=file_id)
    assert caught.value.param == "validation_file"


async def test_a_file_of_seven_may_validate_but_not_train(owner: Owner) -> None:
    few, many = await owner.upload(fresh(7)), await owner.upload(fresh(12))
    assert (await owner.client.files.retrieve(few)).status == "processed"
    told = await owner.refused(400, "invalid_n_examples", "/fine_tuning/jobs", model=MODEL, training_file=few)
    assert "7 example" in told
    job = await owner.client.fine_tuning.jobs.create(model=MODEL, training_file=many, validation_file=few)
    assert job.validation_file == few


@pytest.mark.parametrize(
    ("content", "request_", "words"),
    [
        (preferences(12), {}, "supervised training of gpt-4.1-mini-2025-04-14 needs chat ones"),
        (fresh(12), {"method": {"type": "dpo"}}, "needs preference ones"),
        (fresh(12), {"model": "babbage-002"}, "needs completion ones"),
        (jsonl(*({"prompt": f"{n}", "completion": "ok"} for n in range(12))), {}, "needs chat ones"),
    ],
    ids=["preferences", "chat-for-dpo", "chat-for-babbage", "completions-for-chat"],
)
async def test_the_format_must_fit_the_method(
    owner: Owner, content: bytes, request_: dict[str, Any], words: str
) -> None:
    body = {"model": MODEL, "training_file": await owner.upload(content), **request_}
    assert words in await owner.refused(400, "invalid_file", "/fine_tuning/jobs", **body)


async def test_every_format_is_taken_by_its_method(owner: Owner) -> None:
    dpo = await owner.upload(preferences(12))
    status, _ = await owner.ask(
        "POST", "/fine_tuning/jobs", json={"model": MODEL, "training_file": dpo, "method": {"type": "dpo"}}
    )
    assert status == 200
    completions = await owner.upload(jsonl(*({"prompt": f"{n}", "completion": "ok"} for n in range(12))))
    status, _ = await owner.ask(
        "POST", "/fine_tuning/jobs/estimate", json={"model": "davinci-002", "training_file": completions}
    )
    assert status == 200


async def test_what_a_grader_reads_must_be_in_every_line_of_both_files(owner: Owner) -> None:
    with_bird = await owner.upload(puzzles(12, bird="wren"))
    without = await owner.upload(puzzles(11, bird="wren") + puzzles(1, fish="cod"))
    asked = {"model": "o4-mini-2025-04-16", "method": {"type": "reinforcement", "reinforcement": {"grader": GRADER}}}
    for files in ((without, with_bird), (with_bird, without)):
        body = {**asked, "training_file": files[0], "validation_file": files[1]}
        message = await owner.refused(400, "invalid_file", "/fine_tuning/jobs", **body)
        assert "item.bird, which line 12 does not have" in message
        assert without in message
    both = {**asked, "training_file": with_bird, "validation_file": await owner.upload(puzzles(3, bird="owl"))}
    status, told = await owner.ask("POST", "/fine_tuning/jobs/estimate", json=both)
    assert status == 200
    assert told["cost_usd"] is None
    assert any("hour" in warning for warning in told["warnings"])


async def test_a_file_of_questions_alone_is_judged_when_a_job_names_the_method(owner: Owner) -> None:
    """A grader that is a model reads no member of the line, so that the file may have `messages` alone."""
    asked = await owner.upload(puzzles(12))
    assert (await owner.client.files.retrieve(asked)).status == "processed"
    grader = {**GRADER, "reference": "wren"}
    body: dict[str, Any] = {
        "model": "o4-mini-2025-04-16",
        "method": {"type": "reinforcement", "reinforcement": {"grader": grader}},
        "training_file": asked,
        "validation_file": asked,
    }
    status, told = await owner.ask("POST", "/fine_tuning/jobs/estimate", json=body)
    assert status == 200, told
    words = "it holds reinforcement examples, but supervised training of gpt-4.1-mini-2025-04-14 needs chat ones"
    assert words in await owner.refused(400, "invalid_file", "/fine_tuning/jobs", model=MODEL, training_file=asked)


async def test_a_file_in_parts_is_checked_as_well(owner: Owner) -> None:
    content = fresh(12) + b"{oops\n"
    upload = await owner.client.uploads.upload_file_chunked(
        file=content, filename="a.jsonl", bytes=len(content), mime_type="text/jsonl", purpose="fine-tune", part_size=500
    )
    assert upload.file is not None
    assert upload.file.status == "error"
    assert (await owner.report(upload.file.id))["findings"][0]["line"] == 13


async def test_the_report_goes_with_its_file(owner: Owner) -> None:
    file_id = await owner.upload(fresh(12))
    reports = owner.town.data_dir / "reports"

    def lying(directory: Path) -> list[str]:
        return [path.name for path in directory.iterdir() if path.name.startswith(file_id)]

    assert len(await asyncio.to_thread(lying, reports)) == 2
    await owner.client.files.delete(file_id)
    assert await asyncio.to_thread(lying, reports) == []
    status, answer = await owner.ask("GET", f"/files/{file_id}/report")
    assert (status, answer["error"]["code"]) == (404, "file_not_found")


async def test_a_large_file_is_checked_to_its_last_line(owner: Owner) -> None:
    """Above 16 MiB, where the upload is answered first and a worker checks it afterwards, as at OpenAI."""
    long = "All about birds. " * 600
    lines = [{"messages": [*good(n)["messages"], {"role": "assistant", "content": f"{n} {long}"}]} for n in range(1800)]
    content = jsonl(*lines) + jsonl(lines[7]) + b"{oops\n"
    assert len(content) > CHECKED_AT_ONCE
    uploaded = await owner.client.files.create(file=("train.jsonl", content), purpose="fine-tune")
    assert uploaded.status == "uploaded"
    file_id = uploaded.id
    checked = await owner.client.files.wait_for_processing(file_id, poll_interval=0.1, max_wait_seconds=180)
    assert checked.status == "error"
    assert (checked.status_details or "").startswith("Line 1802: Expecting property name")
    report = await owner.report(file_id)
    assert report["counts"] == {"invalid_json": 1, "duplicate_example": 1}
    assert {found["line"] for found in report["findings"]} == {1801, 1802}
    assert report["size"] == (await owner.client.files.retrieve(file_id)).bytes
    incoming = await asyncio.to_thread(lambda: list((owner.town.data_dir / "files").glob(".incoming*")))
    assert incoming == [], "the digests were left lying"


async def test_many_bad_files_of_one_project_hold_up_nobody_else(place: Deployment, owner: Owner) -> None:
    """Each takes a second of the API's time."""
    bad = b"x\n" * (2 * 1024 * 1024 - 100)
    other = await place.key(f"other-{secrets.token_hex(4)}")
    headers = {"authorization": f"Bearer {other.key}"}
    many = [asyncio.create_task(owner.client.files.create(file=("bad", bad), purpose="fine-tune")) for _ in range(8)]
    incoming = place.data_dir / "files"

    def arrived() -> int:
        return sum(path.stat().st_size == len(bad) for path in incoming.glob(".incoming*"))

    await eventually(lambda: asyncio.to_thread(arrived), lambda count: count >= 6 or any(task.done() for task in many))
    async with aiohttp.ClientSession(headers=headers) as http:
        for _ in range(3):
            async with http.get(place.url.removesuffix("/v1") + "/readyz") as answer:
                assert answer.status == 200
            form = aiohttp.FormData({"purpose": "fine-tune"})
            form.add_field("file", fresh(12), filename="train.jsonl")
            async with http.post(f"{place.url}/files", data=form) as answer:
                assert (await answer.json())["status"] == "processed"
            assert not all(task.done() for task in many), "it waited for all files of another project"
    for file in await asyncio.gather(*many):
        assert (file.status, file.bytes) == ("error", len(bad))
        assert (file.status_details or "").startswith("Checking stopped after line 100,000")
    assert (await owner.report(file.id))["counts"]["checking_stopped"] == 1
    assert await (await owner.client.files.content(file.id)).aread() == bad


async def test_a_reader_that_was_killed_is_started_again(owner: Owner) -> None:
    """The file lies on the disk: whoever comes next reads it from the beginning."""
    content = fresh(60_000)

    async def killing() -> AsyncIterator[bytes]:
        half = len(content) // 2
        yield content[:half]
        for pid in await asyncio.to_thread(readers, owner.town.service.pid):
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
        yield content[half:]

    killed: list[int] = []
    form = aiohttp.FormData({"purpose": "fine-tune"})
    form.add_field("file", killing(), filename="train.jsonl", content_type="application/octet-stream")
    await owner.upload(content)  # so that there is a reader
    status, file = await owner.ask("POST", "/files", data=form)
    assert (status, file["status"], len(killed)) == (200, "processed", 1), file
    assert (await owner.report(file["id"]))["examples"] == 60_000


def readers(service: int) -> list[int]:
    """The service's processes that read datasets and may be killed."""
    found = []
    for directory in Path("/proc").iterdir():
        if directory.name.isdecimal():
            with suppress(OSError):
                parent = int((directory / "stat").read_text().rpartition(")")[2].split()[1])
                command = (directory / "cmdline").read_bytes().split(b"\0")
                if parent == service and b"tunehook.dataset" in command and command[-2] == b"0":
                    found.append(int(directory.name))
    return found
