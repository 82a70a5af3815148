"""Files of another kind and lines of another shape: one finding that says what it is and what turns it."""

import json
from typing import Any

import pytest

from tests.unit.dataset.lines import GOOD, good, jsonl, report_of
from tunehook.dataset.report import Report

ROWS = range(20)
CHATS = [good(n) for n in ROWS]
BUILD = "`tunehook build FILE -o train.jsonl`"


def checked(data: bytes) -> Report:
    return report_of(data, None, minimum=10)


def talk(n: int) -> list[dict[str, str]]:
    return [{"from": "human", "value": f"Bird {n}?"}, {"from": "gpt", "value": "A wren."}]


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [
        (json.dumps(CHATS).encode(), "not_jsonl", f"This is JSON, not JSONL: {BUILD} turns it."),
        (json.dumps(CHATS, indent=2).encode(), "not_jsonl", "This is JSON"),
        (b"[\n" + b",\n".join(json.dumps(chat).encode() for chat in CHATS) + b"\n]\n", "not_jsonl", "This is JSON"),
        (b"[\n" + json.dumps(GOOD).encode() + b"\n]\n", "not_jsonl", "This is JSON"),
        (json.dumps(GOOD, indent=2).encode(), "not_jsonl", "This is JSON"),
        (b"\n".join(json.dumps(chat, indent=1).encode() for chat in CHATS), "not_jsonl", "This is JSON"),
        (json.dumps({"data": CHATS}).encode(), "not_jsonl", "This is JSON"),
        (json.dumps({"rows": [{"row": chat} for chat in CHATS]}, indent=1).encode(), "not_jsonl", "This is JSON"),
        (b"question,answer\nWhat?,That\n", "not_jsonl", "This is CSV, not JSONL"),
        (b"question;answer\r\nWhat?;That, perhaps\r\n", "not_jsonl", "This is CSV"),
        (b"What?\tThat\nWho?\tHe\n", "not_jsonl", "This is TSV"),
        (b"Q: What?\nA: That\n" * 20, "not_jsonl", "This is text with questions and answers"),
        (b"PAR1\x15\x04\n\x15", "wrong_encoding", "The file is Parquet, not text. `tunehook build"),
        (b"PK\x03\x04" + b"\0" * 26 + b"[Content_Types].xml", "wrong_encoding", "a spreadsheet (XLSX)"),
        (b"PK\x03\x04" + b"\0" * 26 + b"a.jsonl", "wrong_encoding", "a ZIP archive, not text. Unpack it first."),
        (b"\r".join(jsonl(*CHATS).split(b"\n")), "cr_line_ends", "CR alone (old Macintosh)"),
        (b"\r".join(jsonl(*CHATS).split(b"\n")) + b"\n", "cr_line_ends", "CR alone (old Macintosh)"),
        (jsonl(*({"instruction": "a", "input": "", "output": f"{n}"} for n in ROWS)), "other_shape", "Alpaca"),
        (jsonl(*({"instruction": "a", "response": f"{n}"} for n in ROWS)), "other_shape", "Alpaca"),
        (jsonl(*({"input": "a", "output": f"{n}"} for n in ROWS)), "other_shape", "a question and an answer"),
        (jsonl(*({"Question": "a", "Answer": f"{n}"} for n in ROWS)), "other_shape", "a question and an answer"),
        (jsonl(*([f"{n}?", f"{n}."] for n in ROWS)), "other_shape", "a question and an answer"),
        (jsonl(*({"conversations": talk(n)} for n in ROWS)), "other_shape", "ShareGPT (`conversations`)"),
        (jsonl(*({"contents": [{"role": "user", "parts": []}]} for n in ROWS)), "other_shape", "Gemini"),
        (
            jsonl(*({"prompt": f"{n}", "chosen": "a", "rejected": "b"} for n in ROWS)),
            "other_shape",
            'the preference format is {"input": {"messages": […]}, "preferred_output"',
        ),
    ],
)  # fmt: skip
def test_it_is_one_finding_that_says_what_it_is(data: bytes, code: str, said: str) -> None:
    report = checked(data)
    assert report.counts == {code: 1}
    assert report.findings[0].line is None
    assert said in report.findings[0].message
    assert said.rstrip(".") in report.summary()


@pytest.mark.parametrize(
    ("data", "counts"),
    [
        (b'{"messages": [\n' + jsonl(*CHATS), {"invalid_json": 1}),
        (b'{"messages": [\n' + jsonl(CHATS[0]), {"invalid_json": 1}),
        (b"Not, JSON\n" + jsonl(*CHATS), {"invalid_json": 1, "not_jsonl": 1}),
        (jsonl({"question": "a", "answer": "b"}, *CHATS), {"missing_messages_list": 1}),
        # `build` does not know who speaks.
        (
            jsonl(*({"conversation": [{"human": f"{n}?", "assistant": "."}]} for n in range(50))),
            {"missing_messages_list": 50},
        ),
    ],
)
def test_one_bad_line_does_not_make_a_file_another(data: bytes, counts: dict[str, int]) -> None:
    report = report_of(data, None)
    assert report.counts == counts
    assert report.examples == data.count(b"\n")


@pytest.mark.parametrize("value", [{"name": {"b": [1]}}, [{"id": 1}, {"id": 2}], [1, 2, 3]])
def test_what_build_would_refuse_is_not_sent_there(value: Any) -> None:
    report = checked(json.dumps(value, indent=2).encode())
    assert report.counts == {"not_jsonl": 1}
    assert report.findings[0].message == "This is JSON, not JSONL."


@pytest.mark.parametrize("row", [{"input": "a", "output": "b"}, {"prompt": "a", "chosen": "b", "rejected": "c"}])
def test_where_a_format_is_told_each_line_is_said_to_be_of_another_shape(row: Any) -> None:
    report = report_of(jsonl(row, row), "chat")
    assert report.counts["missing_messages_list"] == 2
    assert "This has the shape of" in report.findings[0].message


def test_the_summary_has_sentences_and_quotes_nothing_of_the_data() -> None:
    """It stands in the file's record and in lists of files."""
    bad = {"messages": [{"role": "Dr. O'Hara", "content": "x"}, {"role": "assistant", "content": "ok", "pin 1234": 1}]}
    summary = report_of(jsonl(*[bad] * 3) + b'{"messages": "his secret}\n').summary(4)
    assert "Hara" not in summary
    assert "1234" not in summary
    assert "secret" not in summary
    assert summary.startswith("Line 1: Role '…' [unrecognized_role]. Line 1: Unknown member '…' [")
    assert "And 3 more." in summary
    assert "No message of role 'assistant' [" in report_of(jsonl({"messages": [GOOD["messages"][1]]})).summary()
