"""What the simulator bills, held against what `tunehook check` counts: two programs, one published recipe."""

import json
from pathlib import Path
from typing import Any

import pytest

from simulator import tokens
from simulator.examples import examine
from tests.integration.simulator.conftest import Bench
from tunehook.dataset.checker import Checker
from wire.blob import Blob

DEMO = {path.name: path.read_bytes() for path in (Path(__file__).parents[3] / "examples").glob("*.jsonl")}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": "the heron"}'}}
TOOL = {"type": "function", "function": {"name": "look", "description": "Looks — with care.", "parameters": {}}}
ASKED = {"role": "user", "content": "What is it?"}
ANSWERED = {"role": "assistant", "content": "A heron."}
LINES: dict[str, dict[str, Any]] = {
    "plain": {"messages": [{"role": "system", "content": "Vögel 🐦"}, ASKED, ANSWERED]},
    "named": {"messages": [{**ASKED, "name": "ada"}, {"role": "assistant", "content": "A heron.", "weight": 0}]},
    "called": {
        "messages": [
            ASKED,
            {"role": "assistant", "tool_calls": [CALL, CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "a heron"},
            {"role": "assistant", "content": None, "function_call": CALL["function"]},
            {"role": "assistant", "content": None, "refusal": "I had rather not."},
        ],
        "tools": [TOOL],
    },
    "shown": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is it?"},
                    {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
                    {"type": "image_url", "image_url": {"url": "https://x.example/b.png", "detail": "low"}},
                ],
            },
            {"role": "assistant", "content": "A heron."},
        ]
    },
    "preferred": {
        "input": {"messages": [ASKED], "tools": [TOOL]},
        "preferred_output": [{"role": "assistant", "content": "A grey heron, by the water."}],
        "non_preferred_output": [{"role": "assistant", "content": "Dunno."}],
    },
    "asked": {"messages": [ASKED], "answer": "heron"},
    "completed": {"prompt": "What is it?", "completion": " A heron."},
    "long": {"messages": [ASKED, {"role": "assistant", "content": "bird " * 70_000}]},
}  # fmt: skip


def counted(data: bytes, model: str) -> int:
    checker = Checker(None, model=model, minimum=0)
    checker.feed(data)
    statistics = checker.finish().tokens
    assert statistics is not None
    return statistics.trained


@pytest.mark.parametrize("name", LINES)
def test_an_example_of_each_kind(name: str) -> None:
    kinds = {"preferred": "preference", "asked": "reinforcement", "completed": "completion"}
    kind = kinds.get(name, "chat")
    for model in (
        ("babbage-002", "davinci-002")
        if kind == "completion"
        else ("gpt-4.1-mini-2025-04-14", "gpt-4o", "gpt-3.5-turbo-0613", "gpt-3.5-turbo")
    ):
        line = json.dumps(LINES[name]).encode()
        assert tokens.billed([line, b"\n"], model, kind) == counted(line, model) > 0


@pytest.mark.parametrize("name", ["sarcastic.jsonl", "audubon_birds.jsonl"])
async def test_the_examples_of_the_demo(bench: Bench, name: str) -> None:
    data = DEMO[name]
    job = await bench.client.fine_tuning.jobs.create(model="gpt-4.1-mini", training_file=await bench.upload(data))
    await bench.simulator.advance(3600)
    job = await bench.client.fine_tuning.jobs.retrieve(job.id)
    assert job.hyperparameters.n_epochs != "auto"
    epochs = job.hyperparameters.n_epochs
    assert epochs is not None
    assert job.trained_tokens == counted(data, "gpt-4.1-mini") * epochs


def test_a_file_is_counted_by_its_lines(tmp_path: Path) -> None:
    line = json.dumps(LINES["plain"]).encode() + b"\n"
    times = 5 * 2**20 // len(line)
    blob = Blob(tmp_path)
    blob.write(line * times)
    billed = blob.read(lambda lines: tokens.billed(lines, "gpt-4o", "chat"))
    assert billed == times * tokens.billed([line], "gpt-4o", "chat")
    assert blob.read(examine).examples == times


def test_what_is_not_counted_is_billed_as_the_rest() -> None:
    line = json.dumps(LINES["plain"]).encode()
    one = tokens.billed([line], "gpt-4o", "chat")
    assert tokens.billed([line] * 100, "gpt-4o", "chat", exact=10 * len(line)) == 100 * one
