"""Questions and answers become files to train on."""

import json
from typing import Any

import aiohttp
import pytest

from tests.e2e.datasets.conftest import MODEL, Owner

SYSTEM = "Marv is a factual chatbot that is also sarcastic."


def pairs(n: int) -> list[dict[str, str]]:
    return [{"question": f"What is {i} and {i}?", "answer": f"{2 * i}, as everybody knows."} for i in range(n)]


async def test_pairs_become_a_file_that_can_be_trained_on(owner: Owner) -> None:
    sent = [*pairs(12), {"question": "And this?", "answer": " "}, pairs(1)[0], ["Who?", "Me."], "no pair"]
    status, made = await owner.ask("POST", "/datasets", json={"system": SYSTEM, "pairs": sent})
    assert status == 200, made
    assert (made["training_examples"], made["validation_file"]) == (13, None)
    why = {dropped["at"]: dropped["why"] for dropped in made["dropped"]}
    assert set(why) == {"item 13", "item 14", "item 16"}
    assert why["item 13"] == "no answer"
    assert made["dropped_count"] == 3
    assert made["report"]["ok"]
    assert made["report"] == await owner.report(made["training_file"]["id"])
    content = (await owner.client.files.content(made["training_file"]["id"])).text
    assert content.count("\n") == 13
    assert content.count(SYSTEM) == 13
    job = await owner.client.fine_tuning.jobs.create(model=MODEL, training_file=made["training_file"]["id"])
    assert job.status == "validating_files"


async def test_the_same_seed_gives_the_same_split(owner: Owner) -> None:
    async def split(seed: int) -> list[str]:
        body = {"pairs": pairs(20), "validation_split": 0.25, "seed": seed, "filename": "sums.jsonl"}
        _, made = await owner.ask("POST", "/datasets", json=body)
        assert (made["training_examples"], made["validation_examples"]) == (15, 5)
        files = [made["training_file"], made["validation_file"]]
        assert [file["filename"] for file in files] == ["sums.jsonl", "sums.validation.jsonl"]
        return [(await owner.client.files.content(file["id"])).text for file in files]

    assert await split(1) == await split(1)
    assert await split(1) != await split(2)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("birds.csv", "question,answer\nWhat sings?,A wren\nWhat hoots?,An owl\n"),
        ("birds.tsv", "What sings?\tA wren\nWhat hoots?\tAn owl\n"),
        ("birds.txt", "Q: What sings?\nA: A wren\nQ: What hoots?\nA: An owl\n"),
        ("birds.json", '{"What sings?": "A wren", "What hoots?": "An owl"}'),
    ],
)
async def test_a_table_or_a_text_becomes_the_same_file(owner: Owner, name: str, content: str) -> None:
    form = aiohttp.FormData({"system": SYSTEM})
    form.add_field("file", content.encode(), filename=name)
    status, made = await owner.ask("POST", "/datasets", data=form)
    assert status == 200, made
    assert (made["training_examples"], made["training_file"]["filename"]) == (2, "birds.jsonl")
    text = (await owner.client.files.content(made["training_file"]["id"])).text
    assert [text.count(word) for word in ("What sings?", "A wren", "An owl")] == [1, 1, 1]


async def test_other_shapes_and_columns_are_taken_as_build_takes_them(owner: Owner) -> None:
    rows = [{"instruction": f"Add {i}", "input": f"and {i}", "output": f"{2 * i}", "id": i} for i in range(12)]
    status, made = await owner.ask("POST", "/datasets", json={"pairs": rows})
    assert (status, made["training_examples"], made["unused_columns"]) == (200, 12, ["id"])
    text = (await owner.client.files.content(made["training_file"]["id"])).text
    assert '"content": "Add 3\\n\\nand 3"' in text
    form = aiohttp.FormData({"question": "q1,q2", "answer": "Größe", "encoding": "cp1252"})
    form.add_field("file", "q1,q2,Größe\na,b,c\n".encode("cp1252"), filename="t.csv")
    status, made = await owner.ask("POST", "/datasets", data=form)
    assert (status, made["training_examples"], made["unused_columns"]) == (200, 1, [])
    talk = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
    form = aiohttp.FormData({})
    form.add_field("file", json.dumps({"data": [{"conversations": talk}]}).encode(), filename="t.json")
    status, made = await owner.ask("POST", "/datasets", data=form)
    assert (status, made["training_examples"]) == (200, 1)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "pairs"),
        ({"pairs": "no"}, "pairs"),
        ({"pairs": []}, "pairs"),
        ({"pairs": [{"question": "", "answer": "x"}]}, "pairs"),
        ({"pairs": [["a", "b"]], "validation_split": 1}, "validation_split"),
        ({"pairs": [["a", "b"]], "seed": -1}, "seed"),
        ({"pairs": [["a", "b"]], "seed": True}, "seed"),
        ({"pairs": [["a", "b"]], "system": 1}, "system"),
        ({"pairs": [["a", "b"]], "heading": "maybe"}, "heading"),
        ({"pairs": [["a", "b"]], "sistem": "x"}, "sistem"),
    ],
)
async def test_what_cannot_be_made_is_named(owner: Owner, body: dict[str, Any], param: str) -> None:
    status, answer = await owner.ask("POST", "/datasets", json=body)
    assert (status, answer["error"]["param"]) == (400, param)
    assert (await owner.client.files.list()).data == []


@pytest.mark.parametrize(
    ("name", "content", "fields", "param"),
    [
        ("sheet.xlsx", b"PK\x03\x04", {}, "file"),
        ("birds.csv", b"\xff\xfa\x80", {}, "file"),
        ("birds.csv", b"a,b\n", {"seed": "x"}, "seed"),
        ("birds.csv", b"a,b\n", {"validation_split": "nan"}, "validation_split"),
        ("birds.csv", b"a,b\n", {"purpose": "fine-tune"}, "purpose"),
    ],
)
async def test_a_file_that_cannot_be_read_is_refused(
    owner: Owner, name: str, content: bytes, fields: dict[str, str], param: str
) -> None:
    form = aiohttp.FormData(fields)
    form.add_field("file", content, filename=name)
    status, answer = await owner.ask("POST", "/datasets", data=form)
    assert (status, answer["error"]["param"]) == (400, param), answer
