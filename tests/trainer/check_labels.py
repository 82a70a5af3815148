"""Rows → labels: what is trained, read back as text."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.encoding import CALL, OTHER, TOOLS, call, context, trained
from tests.trainer.jobs import chat, preference
from trainer.rows import BadRow, cleaned
from trainer.tune.labels import IGNORED, Encoder


@pytest.fixture(scope="module")
def encoder(base: Path) -> Encoder:
    return Encoder(base)


def test_an_answer_is_trained_to_its_end_of_turn_and_no_further(encoder: Encoder) -> None:
    row = {"messages": [{"role": "system", "content": "Be brief."}, *chat("Hello?", "Hi there.")["messages"]]}
    assert trained(encoder, row) == ["Hi there.<|im_end|>"]
    assert context(encoder, row) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello?<|im_end|>\n"
        "<|im_start|>assistant\nHi there.<|im_end|>\n"
    )


def test_the_tokens_before_an_answer_are_those_of_a_servers_prompt(encoder: Encoder) -> None:
    row = chat("Hello?", "Hi there.")
    found = encoder.supervised(row)
    first = next(index for index, label in enumerate(found["labels"]) if label != IGNORED)
    prompt = encoder.tokenizer.apply_chat_template(
        row["messages"][:1], add_generation_prompt=True, tokenize=True, return_dict=True
    )
    assert found["input_ids"][:first] == prompt["input_ids"]


def test_each_answer_of_a_conversation_is_trained_but_those_of_weight_0(encoder: Encoder) -> None:
    messages = [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "First.", "weight": 0},
        {"role": "user", "content": "Two?"},
        {"role": "assistant", "content": "Second.", "weight": 1},
        {"role": "user", "content": "Three?"},
        {"role": "assistant", "content": "Third."},
        {"role": "assistant", "content": "Fourth.", "weight": None},
    ]
    assert trained(encoder, {"messages": messages}) == [f"{word}.<|im_end|>" for word in ("Second", "Third", "Fourth")]
    assert "First." in context(encoder, {"messages": messages})


def test_a_weight_shows_nowhere(encoder: Encoder) -> None:
    plain = chat("Hello?", "Hi.")
    weighted = {"messages": [plain["messages"][0], {**plain["messages"][1], "weight": 1}]}
    assert encoder.supervised(plain) == encoder.supervised(weighted)


def test_tool_calls_are_trained_as_the_template_writes_them(encoder: Encoder) -> None:
    row: dict[str, Any] = {
        "messages": [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": None, "tool_calls": [CALL, OTHER]},
            {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
            {"role": "tool", "tool_call_id": "call_2", "content": "sun"},
            {"role": "assistant", "content": "Rain and sun."},
        ],
        "tools": TOOLS,
        "parallel_tool_calls": True,
    }
    call = '<tool_call>\n{"name": "look_up", "arguments": {"city": "Zürich", "n": 2}}\n</tool_call>'
    other = '<tool_call>\n{"name": "look_up", "arguments": {"city": "Bern"}}\n</tool_call>'
    assert trained(encoder, row) == [f"{call}\n{other}<|im_end|>", "Rain and sun.<|im_end|>"]
    text = context(encoder, row)
    assert json.dumps(TOOLS[0]) in text
    assert "<tool_response>\nrain\n</tool_response>" in text
    row["messages"][1]["weight"] = 0
    assert trained(encoder, row) == ["Rain and sun.<|im_end|>"]


def test_functions_are_tools_in_older_words(encoder: Encoder) -> None:
    older = {
        "messages": [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": None, "function_call": CALL["function"]},
            {"role": "function", "name": "look_up", "content": "rain"},
            {"role": "assistant", "content": "Rain."},
        ],
        "functions": [TOOLS[0]["function"]],
    }
    newer = {
        "messages": [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
            {"role": "assistant", "content": "Rain."},
        ],
        "tools": TOOLS,
    }
    assert encoder.supervised(older) == encoder.supervised(newer)


def test_parts_names_and_the_developer(encoder: Encoder) -> None:
    parts = {
        "messages": [
            {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
            {"role": "user", "name": "ann", "content": [{"type": "text", "text": a} for a in ("One.", "Two.")]},
            {"role": "assistant", "content": [{"type": "text", "text": "Three."}]},
        ]
    }
    plain = {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "One.\nTwo."},
            {"role": "assistant", "content": "Three."},
        ]
    }
    assert encoder.supervised(parts) == encoder.supervised(plain)
    refusal = {"messages": [plain["messages"][1], {"role": "assistant", "refusal": "I will not."}]}
    assert trained(encoder, refusal) == ["I will not.<|im_end|>"]
    refusal["messages"][1]["content"] = ""
    assert trained(encoder, refusal) == ["I will not.<|im_end|>"]


def test_the_words_of_a_user_are_never_trained_whatever_they_look_like(encoder: Encoder) -> None:
    row = chat("<|im_start|>assistant\nGotcha.<|im_end|> Hi there.", "Hi there.")
    assert trained(encoder, row) == ["Hi there.<|im_end|>"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"content": [{"type": "image_url", "image_url": {"url": "data:"}}]}, "only text"),
        ({"tool_calls": [{**CALL, "function": {"name": "f", "arguments": "{not"}}]}, "not a JSON object"),
        ({"tool_calls": [{**CALL, "function": {"name": "f", "arguments": '"text"'}}]}, "not a JSON object"),
        ({"tool_calls": [{"type": "custom", "custom": {"name": "f", "input": "x"}}]}, "only functions"),
        ({"tool_calls": [{**CALL, "function": {"name": "f", "arguments": "[" * 99_999}}]}, "not a JSON object"),
        ({"tool_calls": [{**CALL, "function": {"name": "f", "arguments": '{"n": NaN}'}}]}, "not a JSON object"),
        ({"tool_calls": [{**CALL, "function": {"name": "f", "arguments": '{"n": 1e999}'}}]}, "not a JSON object"),
        ({"tool_calls": [CALL], "function_call": CALL["function"]}, "tool_calls and a function_call"),
        ({"content": "Hi.", "weight": "0"}, "weight is 0 or 1"),
        ({"content": "Hi.", "weight": 0.5}, "weight is 0 or 1"),
        ({"content": "Hi.", "refusal": "No."}, "content and a refusal"),
        ({"content": "Hi.", "audio": {"id": "audio_1"}}, "audio"),
        ({"content": "Hi \ud83d"}, "message 2 has half a character"),
        ({"content": "Hi.<|im_end|>\n<|im_start|>user\nMore."}, "control token '<|im_"),
        ({"content": "<think>\n<|im_end|>\n</think>\n\nHi."}, "control token '<|im_"),
        ({"tool_calls": [{**CALL, "function": {"name": "f", "arguments": '{"a": "<|im_end|>"}'}}]}, "control token"),
    ],
)
def test_what_would_be_trained_wrongly_is_refused(encoder: Encoder, change: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRow, match=words):
        encoder.supervised({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", **change}]})


def test_a_long_example_loses_its_end(base: Path) -> None:
    row = chat("Hello?", "word " * 50)
    short, whole = Encoder(base, 40).supervised(row), Encoder(base).supervised(row)
    assert short == {name: ids[:40] for name, ids in whole.items()}
    pair = preference("Hello?", "word " * 50, "Hi.")
    cut = Encoder(base, 100).preference(pair)
    assert len(cut["prompt_ids"]) + len(cut["chosen_ids"]) == 100
    assert Encoder(base, 10).preference(pair)["chosen_ids"] == []  # the input alone fills the context


def test_a_preference_is_split_where_the_answer_begins(encoder: Encoder) -> None:
    row = preference("Hello?", "Hi there.", "Go away.")
    row["input"] |= {"tools": TOOLS}
    found = {name: encoder.tokenizer.decode(ids) for name, ids in encoder.preference(row).items()}
    assert found["prompt_ids"].endswith("<|im_start|>user\nHello?<|im_end|>\n<|im_start|>assistant\n")
    assert json.dumps(TOOLS[0]) in found["prompt_ids"]
    assert (found["chosen_ids"], found["rejected_ids"]) == ("Hi there.<|im_end|>", "Go away.<|im_end|>")


@pytest.mark.parametrize("output", [[{"role": "user", "content": "x"}], [], None])
@pytest.mark.parametrize("member", ["preferred_output", "non_preferred_output"])
def test_a_preference_is_between_answers_of_the_assistant(encoder: Encoder, output: Any, member: str) -> None:
    """Otherwise an earlier answer, of the input, would be trained in its place."""
    row = preference("Hello?", "Hi there.", "Go away.")
    row["input"]["messages"] += [{"role": "assistant", "content": "Earlier."}, {"role": "user", "content": "And?"}]
    with pytest.raises(BadRow, match="one message of the assistant"):
        encoder.preference(row | {member: output})


@pytest.mark.parametrize("member", [{"tools": TOOLS}, {"functions": [TOOLS[0]["function"]]}])
def test_tools_beside_the_input_of_a_preference_are_refused(encoder: Encoder, member: dict[str, Any]) -> None:
    with pytest.raises(BadRow, match="put them into the input"):
        encoder.preference(preference("Hello?", "Hi there.", "Go away.") | member)


def test_words_that_a_tokenizer_writes_otherwise_are_trained(base: Path) -> None:
    """Many tokenizers compose letters: a file written on a Mac has them apart."""
    from tokenizers.normalizers import NFC  # noqa: PLC0415

    encoder = Encoder(base)
    encoder.tokenizer.backend_tokenizer.normalizer = NFC()
    assert trained(encoder, chat("Where?", "Zu\u0308rich.")) == ["Z\u00fcrich.<|im_end|>"]


@pytest.mark.parametrize("key", ['say "hi"', "a\\b", "a\nb"])
def test_keys_of_arguments_that_json_escapes_are_found(encoder: Encoder, key: str) -> None:
    call = {"type": "function", "function": {"name": "look_up", "arguments": json.dumps({key: 1})}}
    row = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": [call]}], "tools": TOOLS}
    [text] = trained(encoder, row)
    assert json.dumps(key) in text


def test_a_tool_in_the_shape_of_the_responses_api_is_refused(encoder: Encoder) -> None:
    with pytest.raises(BadRow, match="tool 1 has no member 'function' with a name"):
        encoder.supervised(chat("x", "y") | {"tools": [{"type": "function", "name": "look_up", "parameters": {}}]})


def test_tools_and_functions_together_are_refused(encoder: Encoder) -> None:
    with pytest.raises(BadRow, match="keep the tools"):
        encoder.supervised(chat("x", "y") | {"tools": TOOLS, "functions": [TOOLS[0]["function"]]})


def test_results_of_parallel_calls_stand_in_the_order_of_the_calls() -> None:
    """Most templates show no ids."""
    calls = [call("Oslo") | {"id": "call_1"}, call("Bern") | {"id": "call_2"}]
    results = [{"role": "tool", "tool_call_id": f"call_{number}", "content": f"result {number}"} for number in (2, 1)]
    row: list[dict[str, Any]] = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "tool_calls": calls},
        *results,
    ]
    found = cleaned([*row, {"role": "assistant", "content": "Both."}], "")
    assert [message["content"] for message in found] == ["?", "", "result 1", "result 2", "Both."]
    for wrong in ([results[0]], [*results, results[0]], [results[0], {**results[1], "tool_call_id": "call_9"}]):
        with pytest.raises(BadRow, match="message 3: give each of the 2 calls before it one result"):
            cleaned([*row[:2], *wrong], "")
