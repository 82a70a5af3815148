"""The fast way and the careful way say the same; any chunking says the same; nothing raises."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from tests.unit.dataset.lines import good, jsonl, report_of
from tunehook.dataset.checker import Checker
from tunehook.dataset.formats import FORMATS, NO_SYSTEM, check_line
from tunehook.dataset.plain import plain_digest
from tunehook.dataset.strict_json import explain, fast, parse
from tunehook.dataset.tokens import TokenCounter

texts = st.sampled_from(
    ["", " ", "Hi", "Ärger 🐦", "NUL\0", "YES", "ALL OF THIS IS IN CAPITALS", "\u3000", "<|endoftext|>"]
) | st.text(max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
roles = st.sampled_from(["system", "developer", "user", "assistant", "tool", "function", "human"])
calls = st.fixed_dictionaries(
    {},
    optional={
        "id": st.just("c1") | anything,
        "type": st.just("function") | anything,
        "function": st.fixed_dictionaries({}, optional={"name": texts | anything, "arguments": texts | anything})
        | anything,
    },
)
parts = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "refusal", "audio"]) | anything},
    optional={
        "text": texts | anything,
        "image_url": st.fixed_dictionaries(
            {"url": st.just("https://e.com/a.png") | anything}, optional={"detail": anything}
        )
        | anything,
    },
)
messages = st.fixed_dictionaries(
    {"role": roles, "content": texts | st.lists(parts, max_size=2)},
    optional={
        "weight": st.sampled_from([0, 1, 2, True]) | anything,
        "name": texts | anything,
        "tool_calls": st.lists(calls, max_size=2) | anything,
        "tool_call_id": st.just("c1") | anything,
        "function_call": anything,
        "other": anything,
    },
)
plain = st.fixed_dictionaries({"role": roles, "content": texts})
lists = st.lists(plain, max_size=4) | st.lists(messages | anything, max_size=3)
tools = st.lists(
    st.fixed_dictionaries({"type": st.just("function")}, optional={"function": anything}) | anything, max_size=2
)
examples = (
    st.fixed_dictionaries(
        {"messages": lists}, optional={"tools": tools | anything, "functions": anything, "answer": anything}
    )
    | st.fixed_dictionaries(
        {},
        optional={
            "input": st.fixed_dictionaries({"messages": lists | anything}, optional={"tools": tools}) | anything,
            "preferred_output": lists | anything,
            "non_preferred_completion": lists | anything,
        },
    )
    | st.fixed_dictionaries({}, optional={"prompt": anything, "completion": anything})
    | anything
)  # fmt: skip
USER = {"role": "user", "content": "Name one."}
ANSWER = {"role": "assistant", "content": "A wren."}


def called(*ids: str, arguments: str = "{}", **more: Any) -> dict[str, Any]:
    function = {"name": "f", "arguments": arguments}
    calls = [{"id": each, "type": "function", "function": function} for each in ids]
    return {"role": "assistant", "tool_calls": calls, **more}


def result(call: str, content: str | None = "A small\x7f bird.") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call, "content": content}


F = {"type": "function", "function": {"name": "f", "parameters": {"b": 1.0, "a": 1e16}}}
TURNS = [
    USER, ANSWER, called("c1"), called("c1", "c2"), called("c1", content=None), called("c1", content=""), called(),
    called(content="I look."), called("c1", content="ALL OF THIS IS IN CAPITALS"), called("c1", content=[]),
    called("c1", weight=1), called("c1", arguments='{"a": "<|endoftext|>"}'), called("c1", arguments="[]"),
    called("c1", arguments="{"), called("c1", role="user"), called(""), result("c1"), result("c2"), result("c1", None),
    result("c1", "NUL\0"), result("c1", " "), result("c1", "Größe"), {**ANSWER, "content": "Gr\x7f<|"},
]  # fmt: skip
TOOLS = [[F], [F, {"type": "function", "function": {"name": "g", "x": float("inf")}}], [F, F], [], None]
broken = st.sampled_from(
    [
        b"", b"\r", b"{", b"NaN", b'{"a":1,"a":2}', b'"\\ud800"', b"\xff", b"\0", b"[" * 300, b"1" * 4301, b"1e999",
        b"\xef\xbb\xbf{}", b"\xff\xfe", b"PK\x03\x04", b"[{}]",
        b'{"messages":[{"role":"user","role":"user","content":NaN}]}',
    ]
) | st.binary(max_size=30)  # fmt: skip
encodings: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {"ensure_ascii": False}, {"separators": (",", ":")}, {"indent": None, "sort_keys": True}]
)


@st.composite
def files(draw: st.DrawFn) -> bytes:
    how = draw(encodings)
    lines = [json.dumps(e, **how).encode("utf-8", "surrogatepass") for e in draw(st.lists(examples, max_size=6))]
    lines = draw(st.permutations(lines + draw(st.lists(broken, max_size=3))))
    return draw(st.sampled_from([b"\n", b"\r\n"])).join(lines)


def careful(value: Any, form: Any = "chat") -> list[tuple[str, str, str]]:
    found: list[tuple[str, str, str]] = []
    check_line(value, form, lambda *said: found.append(said))
    return found


@settings(max_examples=200, deadline=None)
@given(st.fixed_dictionaries({"messages": lists}) | examples)
def test_a_plainly_good_line_is_good_to_every_rule(value: Any) -> None:
    holds(value)


def holds(value: Any) -> bool:
    """Returns whether the line went the fast way, which then says the same as the careful one."""
    quick = plain_digest(value)
    found = careful(value)
    if quick is None:
        return False
    system = {m["role"] for m in value["messages"]} & {"system", "developer"}
    assert found == ([] if system else [("no_system_message", "$.messages", NO_SYSTEM)])
    assert bool(quick[1] & 3) == bool(system)
    if len(value) == 1:
        counter = TokenCounter("o200k_base")
        assert counter.plain(value["messages"]) == counter.line(value, "chat")
    else:
        canonical = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
        assert quick[0] == xxh3_64_intdigest(canonical), "as earlier versions kept it beside a file"
    return True


def test_a_line_with_tools_is_good_to_every_rule_if_it_goes_the_fast_way() -> None:
    good_line = [USER, called("c1"), result("c1"), ANSWER]
    turned = [[*good_line[:i], turn, *good_line[i + more :]] for turn in TURNS for i in range(5) for more in (0, 1)]
    went = [holds({"messages": messages, "tools": tools}) for messages in turned for tools in TOOLS]
    assert 20 < sum(went) < 100


def test_ordinary_lines_go_the_fast_way() -> None:
    """Otherwise the test above would hold with a fast way that takes nothing."""
    assert plain_digest(good(1)) is not None
    assert plain_digest({"messages": good(1)["messages"][1:]}) is not None


@pytest.mark.parametrize(
    "messages",
    [
        [USER, called("c1"), result("c1"), ANSWER],
        [USER, called("c1", "c2", content=None), result("c2"), result("c1"), ANSWER],
        [USER, called("c1", content="I look."), result("c1"), called("c1", content=""), result("c1"), ANSWER],
        [USER, ANSWER],
    ],
)
def test_lines_with_tools_go_the_fast_way(messages: list[Any]) -> None:
    assert plain_digest({"messages": messages, "tools": [F]}) is not None
    assert plain_digest({"tools": [F, {"type": "function", "function": {"name": "g"}}], "messages": messages})


@settings(max_examples=200, deadline=None)
@given(anything | examples, encodings)
def test_what_the_fast_decoder_takes_the_careful_one_takes_alike(value: Any, how: dict[str, Any]) -> None:
    line = json.dumps(value, **how).encode("utf-8", "surrogatepass")
    try:
        quick = fast(line)
    except ValueError:
        assert parse(line).found, "what is refused is explained"
        return
    slow = explain(line)
    assert slow.found == []
    assert slow.value == quick


@settings(max_examples=300, deadline=None)
@given(broken)
def test_broken_lines_are_taken_alike(line: bytes) -> None:
    try:
        quick = fast(line)
    except ValueError:
        assert parse(line).found
    else:
        assert explain(line).found == []
        assert explain(line).value == quick


@settings(max_examples=150, deadline=None)
@given(files(), st.sampled_from([None, *FORMATS]), st.sampled_from([None, "gpt-4o", "gpt-3.5-turbo"]))
def test_nothing_raises_and_chunking_does_not_matter(data: bytes, form: str | None, model: str | None) -> None:
    whole = report_of(data, form, model=model, max_line=400)
    for step in (1, 50) if len(data) < 500 else (300,):
        checker = Checker(form, model=model, minimum=0, max_line=400)
        for at in range(0, len(data), step):
            checker.feed(data[at : at + step])
        assert checker.finish() == whole
    json.dumps(whole.to_dict())
    assert whole.from_dict(json.loads(json.dumps(whole.to_dict()))) == whole


def test_the_same_example_is_the_same_however_it_is_written() -> None:
    spaced = json.dumps(good(1)).encode()
    tight = json.dumps(good(1), separators=(",", ":")).encode()
    turned = jsonl({"messages": [dict(reversed(m.items())) for m in good(1)["messages"]]})
    escaped = spaced.replace(b"Bird", b"\\u0042ird")
    report = report_of(b"\n".join((spaced, tight, escaped, turned)))
    assert report.counts == {"duplicate_example": 3}
