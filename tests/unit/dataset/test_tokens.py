"""Token counts are tiktoken's, offline; whole examples by OpenAI's cookbook and our own written rules."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.dataset.lines import GOOD, good, jsonl, report_of
from tunehook.dataset.report import Distribution
from tunehook.dataset.tokens import IMAGE_HIGH, IMAGE_LOW, Encoding, TokenCounter, _tokenizer, encoding_of, token_limit

COUNTS = json.loads((Path(__file__).parent / "token_counts.json").read_text())["cases"]
AUDUBON = Path(__file__).parents[3] / "examples" / "audubon_birds.jsonl"


@pytest.mark.parametrize("encoding", ["o200k_base", "cl100k_base"])
def test_counts_as_tiktoken_does(encoding: Encoding) -> None:
    counter = TokenCounter(encoding)
    for case in COUNTS:
        told = case["text"]
        text = told if isinstance(told, str) else told[0] * told[1] + told[2]
        assert counter.count(text) == case[encoding], repr(text)[:80]


@pytest.mark.parametrize("encoding", ["o200k_base", "cl100k_base"])
def test_every_special_token_is_kept_from_the_fast_way(encoding: Encoding) -> None:
    assert all("<|" in name for name in _tokenizer(encoding).special_tokens())


@pytest.mark.parametrize(
    ("model", "encoding", "limit"),
    [
        ("gpt-4o-2024-08-06", "o200k_base", 65_536),
        ("gpt-4.1-nano", "o200k_base", 65_536),
        ("o4-mini", "o200k_base", 65_536),
        ("ft:gpt-4.1-mini-2025-04-14:acme::AbC", "o200k_base", 65_536),
        ("gpt-4.1-mini-2025-04-14.ft-0123", "o200k_base", 65_536),
        ("ft:gpt-3.5-turbo-0125:acme:x:AbC", "cl100k_base", 16_385),
        ("gpt-3.5-turbo-0613", "cl100k_base", 4_096),
        ("gpt-35-turbo", "cl100k_base", 16_385),
        ("gpt-4", "cl100k_base", 65_536),
        ("gpt-4-0613", "cl100k_base", 65_536),
        ("babbage-002", "cl100k_base", 16_385),
    ],
)
def test_model_names(model: str, encoding: str, limit: int) -> None:
    assert (encoding_of(model), token_limit(model)) == (encoding, limit)


def test_the_tokenizers_memory_of_words_is_emptied() -> None:
    counter = TokenCounter("o200k_base")
    for n in range(400):
        counter.count(f"{n}" + "xyz"[n % 3] * 40_000)
    assert 0 < _tokenizer("o200k_base").cache_len < 400


def test_a_text_beyond_all_limits_is_counted_in_pieces() -> None:
    counter = TokenCounter("o200k_base")
    assert counter.count("bird " * 300_000) == pytest.approx(300_000, abs=60)


def cookbook_tokens(messages: list[dict[str, str]], counter: TokenCounter) -> int:
    """num_tokens_from_messages of OpenAI's cookbook."""
    total = 0
    for message in messages:
        total += 3
        for key, value in message.items():
            total += counter.count(value)
            total += key == "name"
    return total + 3


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-3.5-turbo"])
def test_real_examples_come_to_the_cookbooks_number(model: str) -> None:
    data = AUDUBON.read_bytes()
    counter = TokenCounter(encoding_of(model))
    examples = [json.loads(line)["messages"] for line in data.splitlines()]
    report = report_of(data, model=model)
    assert report.examples == 208
    assert report.tokens
    assert report.tokens.total == sum(cookbook_tokens(messages, counter) for messages in examples)
    answers = sum(counter.count(messages[-1]["content"]) for messages in examples)
    assert report.distributions["answer_tokens"]["mean"] == round(answers / 208, 2)


def tokens_of(example: Any, form: str = "chat") -> int:
    report = report_of(jsonl(example), form, model="gpt-4o")
    assert report.ok, report.summary()
    assert report.tokens
    return report.tokens.total


def test_names_tools_calls_and_images_by_rule() -> None:
    count = TokenCounter("o200k_base").count
    plain = tokens_of(GOOD)
    system, user, answer = GOOD["messages"]
    assert tokens_of({"messages": [system, user | {"name": "ann"}, answer]}) == plain + count("ann") + 1
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    packed = json.dumps(tools, separators=(",", ":"))
    assert tokens_of(GOOD | {"tools": tools}) == plain + count(packed)
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    calling = {"role": "assistant", "tool_calls": [call]}
    assert tokens_of({"messages": [system, user, calling], "tools": tools}) == (
        plain + count(packed) - count("Wren") + 3 + count("f") + count('{"a":1}')
    )
    for detail, cost in (("low", IMAGE_LOW), ("high", IMAGE_HIGH)):
        image = {"type": "image_url", "image_url": {"url": "https://e.com/a.png", "detail": detail}}
        seen = {"role": "user", "content": [{"type": "text", "text": "Name one."}, image]}
        assert tokens_of({"messages": [system, seen, answer]}) == plain + cost


def test_the_other_formats() -> None:
    count = TokenCounter("o200k_base").count
    assert tokens_of({"prompt": "Name one:", "completion": " Wren"}, "completion") == count("Name one:") + count(
        " Wren"
    )
    given, answer = GOOD["messages"][:2], GOOD["messages"][2]
    other = answer | {"content": "No bird at all"}
    pair = {"input": {"messages": given}, "preferred_output": [answer], "non_preferred_output": [other]}
    assert tokens_of(pair, "preference") == tokens_of(GOOD) + 3 + count("assistant") + count("No bird at all")


def test_what_is_over_the_limit_is_said_and_cut() -> None:
    long = good(0)
    long["messages"][2]["content"] = "bird " * 20_000
    report = report_of(jsonl(*map(good, range(9)), long), model="gpt-3.5-turbo")
    assert report.counts["over_token_limit"] == 1
    (found,) = [f for f in report.findings if f.code == "over_token_limit"]
    assert found.line == 10
    assert report.tokens
    assert report.tokens.over_limit == 1
    assert report.tokens.limit == 16_385
    assert report.tokens.trained == report.tokens.total - (report.distributions["tokens"]["max"] - 16_385)


@pytest.mark.parametrize(
    ("messages", "cut"),
    [
        ([{"role": "user", "content": "bird " * 17_000}, {"role": "assistant", "content": "Wren"}], True),
        ([{"role": "user", "content": "Sing."}, {"role": "assistant", "content": "bird " * 17_000}], False),
        (
            [
                {"role": "assistant", "content": "Hello", "weight": 0},
                {"role": "user", "content": "bird " * 17_000},
                {"role": "assistant", "content": "Wren"},
            ],
            True,
        ),
    ],
)
def test_an_answer_wholly_cut_is_said(messages: list[dict[str, Any]], cut: bool) -> None:
    report = report_of(jsonl({"messages": messages}), model="gpt-3.5-turbo")
    assert report.counts["over_token_limit"] == 1
    assert report.counts.get("answer_cut", 0) == cut


def test_prompts_and_inputs_may_leave_no_room_either() -> None:
    long, answer = "bird " * 17_000, [{"role": "assistant", "content": "Wren"}]
    report = report_of(jsonl({"prompt": long, "completion": "Wren"}), "completion", model="babbage-002")
    assert report.counts["answer_cut"] == 1
    pair = {"input": {"messages": [{"role": "user", "content": long}]}, "preferred_output": answer}
    pair["non_preferred_output"] = [{"role": "assistant", "content": "Bat"}]
    assert report_of(jsonl(pair), "preference", model="gpt-3.5-turbo").counts["answer_cut"] == 1


@pytest.mark.parametrize("lengths", [[1999] * 12, [1001, 1999, 2005], [3, 12_345, 12_349]])
def test_figures_lie_between_the_smallest_and_the_largest(lengths: list[int]) -> None:
    seen = Distribution()
    for length in lengths:
        seen.add(length)
    told = seen.to_dict()
    assert told["min"] <= told["p5"] <= told["median"] <= told["p95"] <= told["max"]
    assert (told["min"], told["max"]) == (min(lengths), max(lengths))
    assert len(set(lengths)) > 1 or told["median"] == lengths[0]
