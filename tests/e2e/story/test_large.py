"""A large dataset passes through the service in pieces: its memory does not grow with it."""

import json
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.story.conftest import Story

MB = 1_000_000
MIB = 1024 * 1024


def peak(pid: int) -> int:
    """The most memory that the process has had since `forget_peak`, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def forget_peak(pid: int) -> int:
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_128_mb_are_received_and_given_back_within_64_mib(story: Story, tmp_path: Path) -> None:
    path, line = tmp_path / "large.jsonl", "x" * MB
    with path.open("w") as sink:
        for number in range(128):
            question = {"role": "user", "content": f"{number} {line}"}
            sink.write(json.dumps({"messages": [question, {"role": "assistant", "content": "y"}]}) + "\n")
    pid = story.town.service.pid
    headers = {"authorization": f"Bearer {story.caller.key}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        before = forget_peak(pid)
        with path.open("rb") as source:
            form = aiohttp.FormData({"purpose": "fine-tune"})
            form.add_field("file", source, filename="large.jsonl")
            async with session.post(f"{story.town.url}/files", data=form) as answer:
                body = await answer.read()
                story.contract.check_response("POST", "/v1/files", answer.status, answer.headers, body)
        file = json.loads(body)
        assert file["bytes"] == path.stat().st_size
        received = peak(pid) - before
        before, size = forget_peak(pid), 0
        async with session.get(f"{story.town.url}/files/{file['id']}/content") as answer:
            async for chunk in answer.content.iter_chunked(MIB):
                size += len(chunk)
        given_back = peak(pid) - before
    assert size == file["bytes"]
    assert received < 64 * MIB
    assert given_back < 64 * MIB
