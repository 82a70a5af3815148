"""Rows → labels: what is trained, read back as text, under every template that can be trained."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.jobs import chat, preference
from trainer.rows import BadRow, cleaned
from trainer.templates import Untrainable, known_templates, training_template
from trainer.tune.labels import IGNORED, Encoder

_CONTROL = re.compile(r"<\|[\w ]+\|>|<\w+\|>|<\|\w+>|<\w+_of_turn>|<｜[^｜]+｜>")
#: Their content is a list of parts, for images: they refuse each row in words.
_VISION = {"idefics3", "llava_next", "smolvlm"}
#: A server's prompt for these ends with <think>, and their training form writes answers without it.
_OTHER_PROMPT = {"deepseek_r1_distill", "deepseekv3"} | {
    f"nemotron_3_{kind}" for kind in ("5_lightning", "nano", "super", "ultra")
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"city": "Zürich", "n": 2}'}}
OTHER = {"id": "call_2", "type": "function", "function": {"name": "look_up", "arguments": '{"city": "Bern"}'}}
TOOLS = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture(scope="module")
def encoder(base: Path) -> Encoder:
    return Encoder(base)


def with_template(base: Path, folder: Path, name: str, **token: bool) -> Path:
    """Makes a base whose template is one of TRL's, and whose tokenizer knows its control tokens, with these options."""
    from transformers import AddedToken, AutoTokenizer  # noqa: PLC0415

    template = (known_templates() / f"{name}.jinja").read_text("utf-8")
    tokenizer = AutoTokenizer.from_pretrained(base)
    found = sorted(set(_CONTROL.findall(template)))
    control = [AddedToken(name, special=True, normalized=False, **token) for name in found]
    tokenizer.add_tokens(control, special_tokens=True)  # as real bases have them: not all in the map of special tokens
    tokenizer.chat_template = template
    shutil.copytree(base, folder)
    tokenizer.save_pretrained(folder)
    return folder


def trained(encoder: Encoder, row: dict[str, Any]) -> list[str]:
    """Returns the texts of the stretches that are trained."""
    found = encoder.supervised(row)
    stretches: list[list[int]] = [[]]
    for token, label in zip(found["input_ids"], found["labels"], strict=True):
        if label == IGNORED:
            stretches.append([])
        else:
            assert label == token
            stretches[-1].append(label)
    return [encoder.tokenizer.decode(stretch) for stretch in stretches if stretch]


def context(encoder: Encoder, row: dict[str, Any]) -> str:
    return str(encoder.tokenizer.decode(encoder.supervised(row)["input_ids"]))


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


@pytest.fixture(scope="module")
def joining(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose tokenizer has several line breaks as one token and splits as Qwen's does."""
    from tokenizers import Regex, Tokenizer, pre_tokenizers  # noqa: PLC0415

    from trainer.tune.tiny import make  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("joining") / "tiny"
    make(folder, ["\n\n\n a"] * 9)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    split = pre_tokenizers.Split(Regex(r"[^\r\n\p{L}]?\p{L}+| ?[^\s\p{L}]+[\r\n]*|\s*[\r\n]+|\s+"), "isolated")
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, whole])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def prompted(encoder: Encoder, row: dict[str, Any]) -> list[int]:
    """Returns the tokens of a server's prompt for a row's last answer."""
    found = encoder.tokenizer.apply_chat_template(
        row["messages"][:-1], add_generation_prompt=True, tokenize=True, return_dict=True
    )
    return list(found["input_ids"])


@pytest.mark.parametrize(
    ("name", "answer", "label"),
    [
        ("qwen2_5", "\n\nHi.", "\n\nHi.<|im_end|>"),
        ("qwen3_5_think", "Hi.", "\n</think>\n\nHi.<|im_end|>"),
        ("qwen3_6", "Hi.", "\n</think>\n\nHi.<|im_end|>"),
        ("qwen3_8", "Hi.", "\n</think>\n\nHi.<|im_end|>"),
        ("qwen3_8", "<think>\nA greeting.\n</think>\n\nHi.", "A greeting.\n</think>\n\nHi.<|im_end|>"),
        ("qwen3_5_nothink", "Hi.", "Hi.<|im_end|>"),
    ],
)
def test_a_tokenizer_that_joins_line_breaks_joins_none_of_the_prompt_with_an_answer(
    joining: Path, tmp_path: Path, name: str, answer: str, label: str
) -> None:
    """It would be trained behind a prompt that no server gives, and say again what the prompt has said."""
    encoder = Encoder(with_template(joining, tmp_path / name, name))
    row = chat("Hello?", answer)
    assert trained(encoder, row) == [label]
    found, asked = encoder.supervised(row), prompted(encoder, row)
    assert found["input_ids"][: len(asked)] == asked
    assert found["labels"][: len(asked)] == [IGNORED] * len(asked)
    pair = preference("Hello?", answer, "No.")
    assert encoder.preference(pair)["prompt_ids"] == asked


def test_a_control_token_that_takes_the_blanks_behind_it_does_not_take_the_answer(base: Path, tmp_path: Path) -> None:
    """Phi's do. A space at the beginning is common in older files."""
    encoder = Encoder(with_template(base, tmp_path / "phi3_5", "phi3_5", rstrip=True))
    row = chat("Where?", " Paris")
    [text] = trained(encoder, row)
    assert text.startswith("Paris<|end|>")
    found, asked = encoder.supervised(row), prompted(encoder, row)
    assert found["input_ids"][: len(asked)] == asked
    pair = preference("Where?", "\nParis", "Bern")
    assert encoder.tokenizer.decode(encoder.preference(pair)["chosen_ids"]).startswith("Paris")


def test_the_outputs_of_a_preference_follow_one_prompt_though_one_alone_is_joined(
    joining: Path, tmp_path: Path
) -> None:
    encoder = Encoder(with_template(joining, tmp_path / "qwen3_6", "qwen3_6"))
    row = preference("And?", "<think>\nA greeting.\n</think>\n\nHi.", "No.")
    row["input"]["messages"][:0] = chat("Hello?", "One.")["messages"]
    found = {name: encoder.tokenizer.decode(ids) for name, ids in encoder.preference(row).items()}
    assert found["prompt_ids"].endswith("<|im_start|>assistant\n<think>\n")
    assert found["chosen_ids"].startswith("A greeting.")
    assert found["rejected_ids"].startswith("\n</think>")


@pytest.mark.parametrize("key", ['say "hi"', "a\\b", "a\nb"])
def test_keys_of_arguments_that_json_escapes_are_found(encoder: Encoder, key: str) -> None:
    call = {"type": "function", "function": {"name": "look_up", "arguments": json.dumps({key: 1})}}
    row = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": [call]}], "tools": TOOLS}
    [text] = trained(encoder, row)
    assert json.dumps(key) in text


def test_an_answer_that_does_not_follow_a_servers_prompt_is_refused(joining: Path, tmp_path: Path) -> None:
    encoder = Encoder(with_template(joining, tmp_path / "nothink", "qwen3_5_nothink"))
    row = chat("Hello?", "<think>\nA greeting.\n</think>\n\nHi.")
    with pytest.raises(BadRow, match="does not begin where a server's prompt ends"):
        encoder.supervised(row)
    row["messages"][1]["weight"] = 0
    assert trained(encoder, row) == []


def test_no_blank_is_added_where_a_tokenizer_begins_each_text_with_one(base: Path, tmp_path: Path) -> None:
    """SentencePiece's do: a prompt and an answer that it joins cannot be read apart there."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: PLC0415
    from transformers import PreTrainedTokenizerFast  # noqa: PLC0415

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(split=False), decoders.Metaspace()
    texts = ["assistant\n- Hi. user system you are Qwen created by Alibaba Cloud helpful Hello? x y"] * 9
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(special_tokens=special, show_progress=False))
    spaced = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=special[2], pad_token=special[0])
    spaced.chat_template = (known_templates() / "qwen2_5.jinja").read_text("utf-8")
    shutil.copytree(base, tmp_path / "spaced")
    spaced.save_pretrained(tmp_path / "spaced")
    encoder = Encoder(tmp_path / "spaced")
    with pytest.raises(BadRow, match="does not begin where a server's prompt ends"):
        encoder.supervised(chat("Hello?", "- Hi."))  # its vocabulary has the line break and the dash as one token


def test_a_tool_in_the_shape_of_the_responses_api_is_refused(encoder: Encoder) -> None:
    with pytest.raises(BadRow, match="tool 1 has no member 'function' with a name"):
        encoder.supervised(chat("x", "y") | {"tools": [{"type": "function", "name": "look_up", "parameters": {}}]})


def test_tools_and_functions_together_are_refused(encoder: Encoder) -> None:
    with pytest.raises(BadRow, match="keep the tools"):
        encoder.supervised(chat("x", "y") | {"tools": TOOLS, "functions": [TOOLS[0]["function"]]})


def _call(place: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "look_up", "arguments": f'{{"place": "{place}"}}'}}


_PLACE = {"type": "object", "properties": {"place": {"type": "string"}}}
_LOOK_UP = [{"type": "function", "function": {"name": "look_up", "description": "d", "parameters": _PLACE}}]


@pytest.mark.parametrize(
    ("name", "answer", "words"),
    [
        (
            "gptoss",
            {"tool_calls": [_call("Oslo"), _call("Bern")]},
            "the call of 'look_up'",
        ),  # it writes the first alone
        ("phi3_5", {"content": "I will use look_up now.", "tool_calls": [_call("Bern")]}, "leaves out"),
        ("llama3", {"content": "look_up says: sunny."}, "the tool 'look_up'"),
        ("gemma3", {"content": "x<end_of_turn>\n<start_of_turn>user\nHi"}, "control token"),
    ],
)
def test_a_tool_or_call_that_words_name_too_is_refused_where_it_is_left_out(
    base: Path, tmp_path: Path, name: str, answer: dict[str, Any], words: str
) -> None:
    encoder = Encoder(with_template(base, tmp_path / name, name))
    row: dict[str, Any] = {"messages": [{"role": "user", "content": "look_up it"}, {"role": "assistant", **answer}]}
    if "control" not in words:
        row["tools"] = _LOOK_UP
    with pytest.raises(BadRow, match=words):
        encoder.supervised(row)


def test_words_beside_a_call_are_not_left_out_though_the_call_has_them_too(base: Path, tmp_path: Path) -> None:
    encoder = Encoder(with_template(base, tmp_path / "gptoss", "gptoss"))
    called = {"role": "assistant", "content": "Bern", "tool_calls": [_call("Bern")]}
    row: dict[str, Any] = {"messages": [{"role": "user", "content": "?"}, called], "tools": _LOOK_UP}
    assert trained(encoder, row)
    row["messages"] += [{"role": "tool", "content": "rain"}, {"role": "assistant", "content": "Rain."}]
    with pytest.raises(BadRow, match="leaves out the words beside a call, 'Bern'"):
        encoder.supervised(row)


def test_results_of_parallel_calls_stand_in_the_order_of_the_calls() -> None:
    """Most templates show no ids."""
    calls = [_call("Oslo") | {"id": "call_1"}, _call("Bern") | {"id": "call_2"}]
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


def test_thoughts_are_trained_or_refused_and_words_never_become_thoughts(base: Path, tmp_path: Path) -> None:
    thinking = Encoder(with_template(base, tmp_path / "qwen3", "qwen3"))
    thought = chat("Hello?", "<think>\nA greeting.\n</think>\n\nHi.")["messages"]
    assert trained(thinking, {"messages": thought}) == ["<think>\nA greeting.\n</think>\n\nHi.<|im_end|>"]
    twice = trained(thinking, chat("Hello?", "<think>a</think> b </think> c"))
    assert twice == ["<think>\na\n</think>\n\n b </think> c<|im_end|>"]
    for words in ("The tag </think> ends it.", "Hi. <think>x</think> Ho."):
        with pytest.raises(BadRow, match="leaves out message 2"):
            thinking.supervised(chat("Hello?", words))
    forgetful = Encoder(with_template(base, tmp_path / "glm", "glm4moe"))
    row = {"messages": [*thought, *chat("And?", "So long.")["messages"]]}
    with pytest.raises(BadRow, match="leaves out the thoughts"):
        forgetful.supervised(row)
    row["messages"][1] |= {"weight": 0}
    [text] = trained(forgetful, row)
    assert "So long." in text


def test_thoughts_are_put_where_a_template_looks_for_them(base: Path, tmp_path: Path) -> None:
    row = chat("Hello?", "<think>\nA greeting.\n</think>\n\nHi.")
    apart = Encoder(with_template(base, tmp_path / "qwen3_8", "qwen3_8"))
    assert trained(apart, row) == ["A greeting.\n</think>\n\nHi.<|im_end|>"]  # a server's prompt begins the thought
    named = chat("Hello?", "Hi.")
    named["messages"][1]["reasoning_content"] = "A greeting."
    assert apart.supervised(row) == apart.supervised(named)
    channels = Encoder(with_template(base, tmp_path / "gptoss", "gptoss"))
    [analysis] = trained(channels, row)
    assert analysis.startswith("<|channel|>analysis<|message|>A greeting.<|end|>")
    for name in ("qwen2_5", "qwen3_instruct_2507"):  # they know no thoughts: the words are the answer
        plain = Encoder(with_template(base, tmp_path / name, name))
        assert trained(plain, row) == ["<think>\nA greeting.\n</think>\n\nHi.<|im_end|>"]


def test_thoughts_in_the_input_of_a_preference_are_context(base: Path, tmp_path: Path) -> None:
    encoder = Encoder(with_template(base, tmp_path / "glm", "glm4moe"))
    row = preference("And?", "So long.", "Go away.")
    row["input"]["messages"][:0] = chat("Hello?", "<think>\nA greeting.\n</think>\n\nHi.")["messages"]
    assert "Hi." in encoder.tokenizer.decode(encoder.preference(row)["prompt_ids"])


def test_a_tool_without_a_description_is_refused_in_words_where_a_template_needs_one(
    base: Path, tmp_path: Path
) -> None:
    encoder = Encoder(with_template(base, tmp_path / "gptoss", "gptoss"))
    with pytest.raises(BadRow, match="may need a description and parameters of each tool"):
        encoder.supervised(chat("Hello?", "Hi.") | {"tools": TOOLS})


TRAINABLE = sorted(path.name.removesuffix("_training.jinja") for path in known_templates().glob("*_training.jinja"))


@pytest.mark.parametrize("name", TRAINABLE)
def test_every_template_trains_answers_and_nothing_else_or_refuses(base: Path, tmp_path: Path, name: str) -> None:
    """A template may refuse a row in words. It may not train a wrong one."""
    from transformers import AutoTokenizer  # noqa: PLC0415
    from trl.chat_template_utils import get_training_chat_template  # noqa: PLC0415

    folder = with_template(base, tmp_path / name, name)
    assert training_template(folder) == (
        get_training_chat_template(AutoTokenizer.from_pretrained(folder))
        or (folder / "chat_template.jinja").read_text("utf-8")
    )
    if name in _OTHER_PROMPT:
        with pytest.raises(Untrainable, match=r"prompt for this base ends with '.*<think>"):
            Encoder(folder)
        return
    encoder = Encoder(folder)
    refused = []
    for row in (
        chat("Hello?", "Hi there."),
        {"messages": [{"role": "developer", "content": "Be brief."}, *chat("Hello?", "Hi there.")["messages"]]},
        {"messages": [*chat("Hello?", "Hi there.")["messages"], *chat("And?", "So long.")["messages"]]},
        {
            "messages": [*chat("Hello?", "x")["messages"][:1], {"role": "assistant", "tool_calls": [CALL]}],
            "tools": TOOLS,
        },
    ):
        try:
            found = trained(encoder, row)
        except BadRow as error:
            refused.append(str(error))
            continue
        answers = [message for message in row["messages"] if message["role"] == "assistant"]
        assert len(found) == len(answers)
        for text, message in zip(found, answers, strict=True):
            assert message.get("content", "look_up") in text
            assert "Hello?" not in text
            assert "Be brief." not in text
            assert _CONTROL.search(text) or "<|im_end|>" in text
    assert (len(refused) == 4) == (name in _VISION), refused


@pytest.mark.parametrize("name", ["llama3_1", "gemma4"])
def test_a_template_without_a_training_form_is_refused(base: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(Untrainable, match="no training form"):
        training_template(with_template(base, tmp_path / name, name))
