"""From question and answer pairs to a file that the checker has nothing against."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.dataset.lines import build, report_of
from tunehook.dataset.build import Built
from tunehook.dataset.rows import CannotBuild
from tunehook.dataset.sources import KINDS, kind_for

Q = [("Name a bird.", "Wren"), ("Another, please.", "Owl, or kite")]


def made(source: str | bytes, kind: str, **how: Any) -> Built:
    raw = source.encode() if isinstance(source, str) else source
    return build(raw, kind=kind, **{"system": "You name birds.", **how})


def pairs(lines: bytes) -> list[tuple[str, str]]:
    examples = [json.loads(line)["messages"] for line in lines.splitlines()]
    assert all(m[0] == {"role": "system", "content": "You name birds."} for m in examples)
    assert all([x["role"] for x in m] == ["system", "user", "assistant"] for m in examples)
    return [(m[1]["content"], m[2]["content"]) for m in examples]


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("json", json.dumps([{"question": q, "answer": a} for q, a in Q])),
        ("json", json.dumps([{"Prompt": q, "Completion": a, "id": 1} for q, a in Q])),
        ("json", json.dumps(Q)),
        ("json", json.dumps(dict(Q))),
        ("json", "\n".join(json.dumps({"q": q, "a": a}) for q, a in Q)),
        ("jsonl", "\n\n".join(json.dumps({"user": q, "assistant": a}) for q, a in Q) + "\n"),
        ("csv", 'Question,Answer\nName a bird.,Wren\n"Another, please.","Owl, or kite"\n'),
        ("csv", 'id,answer,question\n1,Wren,Name a bird.\n2,"Owl, or kite","Another, please."\n'),
        ("csv", 'Name a bird.,Wren\r\n\r\n"Another, please.","Owl, or kite"\r\n'),
        ("csv", "question;answer\nName a bird.;Wren\nAnother, please.;Owl, or kite\n"),
        ("csv", "\ufeffquestion,answer\nName a bird.,Wren\n\"Another, please.\",\"Owl, or kite\"\n"),
        ("tsv", "question\tanswer\nName a bird.\tWren\nAnother, please.\tOwl, or kite\n"),
        ("txt", "Q: Name a bird.\nA: Wren\n\nQ: Another, please.\nA: Owl, or kite\n"),
        ("txt", "user: Name a bird.\r\nassistant: Wren\r\nuser: Another, please.\r\nassistant: Owl, or kite"),
        ("txt", "Name a bird.\nWren\n\n\nAnother, please.\nOwl, or kite\n"),
        ("txt", "Name a bird.\tWren\nAnother, please.\tOwl, or kite\n"),
        ("txt", "\n".join(json.dumps({"q": q, "a": a}) for q, a in Q)),
        ("csv", 'question,answer\nName a bird.,Wren\n"Another, please.","Owl, or kite"\n'.encode("utf-16")),
    ],
)  # fmt: skip
def test_reads_what_people_write(kind: str, source: str | bytes) -> None:
    built = made(source, kind)
    assert pairs(built.training) == Q
    assert (built.training_examples, built.validation, built.dropped) == (2, b"", ())


def test_answers_may_have_several_lines() -> None:
    assert pairs(made("Q: Why?\nA: First,\nsecond.\n", "txt").training) == [("Why?", "First,\nsecond.")]
    assert pairs(made("Why?\nFirst,\nsecond.\n", "txt").training) == [("Why?", "First,\nsecond.")]


@pytest.mark.parametrize(
    ("kind", "source", "dropped"),
    [
        ("csv", "question,answer\na,b\nc,\n,d\na,b\n", [
            ("line 3", "no answer"), ("line 4", "no question"), ("line 5", "the same as line 2"),
        ]),
        ("csv", "a,b\nalone\n", [("line 2", "only one column")]),
        ("json", '[["a", "b"], 5, ["c"], {"x": 1}, {"q": "c", "a": ["d"]}]', [
            ("item 2", "neither an object nor a list of two texts"),
            ("item 3", "neither an object nor a list of two texts"),
            ("item 4", "neither `question` nor `answer`; it has x"),
            ("item 5", "`answer` is not a text"),
        ]),
        ("jsonl", '{"q": "a", "a": "b"}\n{"q"', [("line 2", "not JSON")]),
        ("txt", "Birds\nQ: a\nA: b\nQ: c\nQ: d\nA: e\nA: f", [
            ("line 1", "a text before the first label"), ("line 4", "no answer"), ("line 7", "no question"),
        ]),
        ("txt", "a\nb\n\nc\n", [("line 4", "no answer")]),
    ],
)  # fmt: skip
def test_says_what_it_dropped_and_why(kind: str, source: str, dropped: list[tuple[str, str]]) -> None:
    built = made(source, kind)
    assert [(d.at, d.why) for d in built.dropped] == dropped
    assert pairs(built.training)[0] == ("a", "b")


def test_splits_by_seed_and_keeps_the_order() -> None:
    source = json.dumps([[f"q{n}", f"a{n}"] for n in range(50)])
    one, again, other = (made(source, "json", validation_split=0.2, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one.validation != other.validation
    assert (one.training_examples, one.validation_examples) == (40, 10)
    asked = [[int(q[1:]) for q, _ in pairs(part)] for part in (one.training, one.validation)]
    assert asked == [sorted(asked[0]), sorted(asked[1])]
    assert sorted(asked[0] + asked[1]) == list(range(50))
    assert made(json.dumps(Q), "json", validation_split=0.01).validation_examples == 1
    assert made(json.dumps(Q[:1]), "json", validation_split=0.9).validation_examples == 0


@pytest.mark.parametrize(
    ("source", "kind", "how", "said"),
    [
        ("", "txt", {}, "No question and answer pairs"),
        ("a\n", "txt", {}, "line 1, no answer"),
        ("{", "json", {}, "not JSON"),
        (b"a,\xff", "csv", {}, "not UTF-8 (line 1)"),
        ("a\nb", "docx", {}, "'docx' is none of json"),
        ("a\nb", "xlsx", {}, "save the sheet as CSV"),
        ("a\nb", "txt", {"validation_split": 1.0}, "less than 1"),
        ("a\nb", "txt", {"validation_split": float("nan")}, "less than 1"),
    ],
)
def test_what_cannot_be_built_is_explained(source: str | bytes, kind: str, how: dict[str, Any], said: str) -> None:
    with pytest.raises(CannotBuild) as caught:
        made(source, kind, **how)
    assert said in str(caught.value)


def test_kinds_by_name() -> None:
    assert kind_for("a/Birds.CSV", b"") == "csv"
    assert kind_for("birds.xlsx", b"") == "xlsx"
    assert kind_for("birds.data", b' {"q": "a"}') == "jsonl"
    assert kind_for("birds", b"question,answer\na,b\n") == "csv"
    with pytest.raises(CannotBuild, match="none of"):
        kind_for("birds", b"")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text('qa:,;\t\n"{}[]Q \u00e4', max_size=60).map(str.encode), st.sampled_from(KINDS))
def test_no_input_raises_anything_else_and_what_is_built_is_good(source: bytes, kind: str) -> None:
    try:
        built = build(source, kind=kind, system="S", validation_split=0.3)
    except CannotBuild:
        return
    report = report_of(built.training + built.validation)
    assert report.errors == 0
    assert report.examples == built.training_examples + built.validation_examples


def test_no_system_message_if_none_is_wanted() -> None:
    (message, _) = json.loads(made(json.dumps(Q[:1]), "json", system="").training)["messages"]
    assert message["role"] == "user"


def test_more_pairs_than_are_wanted_are_refused_before_they_take_memory() -> None:
    rows = b"".join(b"q%d,a%d\n" % (n, n) for n in range(11))
    assert build(rows, kind="csv", system="", at_most=11).training_examples == 11
    with pytest.raises(CannotBuild, match="More than 10 pairs"):
        build(rows, kind="csv", system="", at_most=10)
    with pytest.raises(CannotBuild, match="More than 10 pairs"):
        build(b"[" + b"[]," * 101 + b"[]]", kind="json", system="", at_most=10)


@pytest.mark.parametrize("text", ["Q: a\nA: b\n\n", "what is it\nthis\n\n", " "])
def test_a_long_text_takes_as_long_as_it_is(text: str) -> None:
    """A mebibyte in a second or two: counted from the start for each pair, its lines once took 52 s, 8 MiB an hour."""
    begun = time.process_time()
    try:
        made(text * ((1 << 20) // len(text)), "txt")
    except CannotBuild:
        assert not text.strip()
    assert time.process_time() - begun < 15


def test_a_long_system_message_in_many_lines_is_refused_where_memory_is_short() -> None:
    """Half a megabyte of it before each of 20,000 pairs would be 10 GB."""
    source = json.dumps([[f"q{n}", "a"] for n in range(200)])
    with pytest.raises(CannotBuild, match="More than 64 MB"):
        made(source, "json", system="s" * 500_000, at_most=1000)
    assert made(source, "json", system="s" * 1000, at_most=1000).training_examples == 200


def test_a_heading_of_many_columns_costs_each_row_nothing() -> None:
    begun = time.process_time()
    heading = "question,answer," + ",".join(f"c{n}" for n in range(200_000))
    built = made(heading + "\n" + "\n".join(f"q{n},a" for n in range(3000)), "csv")
    assert built.training_examples == 3000
    assert time.process_time() - begun < 5
