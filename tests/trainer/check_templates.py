"""Rows → labels under other templates and tokenizers than those of the tiny base: right, or refused in words."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.encoding import CALL, CONTROL, LOOK_UP, TOOLS, call, prompted, trained, with_template
from tests.trainer.jobs import chat, preference
from trainer.rows import BadRow
from trainer.templates import Untrainable, known_templates, training_template
from trainer.tune.labels import IGNORED, Encoder

#: Their content is a list of parts, for images: they refuse each row in words.
_VISION = {"idefics3", "llava_next", "smolvlm"}
#: A server's prompt for these ends with <think>, and their training form writes answers without it.
_OTHER_PROMPT = {"deepseek_r1_distill", "deepseekv3"} | {
    f"nemotron_3_{kind}" for kind in ("5_lightning", "nano", "super", "ultra")
}


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


@pytest.mark.parametrize(
    ("name", "answer", "words"),
    [
        (
            "gptoss",
            {"tool_calls": [call("Oslo"), call("Bern")]},
            "the call of 'look_up'",
        ),  # it writes the first alone
        ("phi3_5", {"content": "I will use look_up now.", "tool_calls": [call("Bern")]}, "leaves out"),
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
        row["tools"] = LOOK_UP
    with pytest.raises(BadRow, match=words):
        encoder.supervised(row)


def test_words_beside_a_call_are_not_left_out_though_the_call_has_them_too(base: Path, tmp_path: Path) -> None:
    encoder = Encoder(with_template(base, tmp_path / "gptoss", "gptoss"))
    called = {"role": "assistant", "content": "Bern", "tool_calls": [call("Bern")]}
    row: dict[str, Any] = {"messages": [{"role": "user", "content": "?"}, called], "tools": LOOK_UP}
    assert trained(encoder, row)
    row["messages"] += [{"role": "tool", "content": "rain"}, {"role": "assistant", "content": "Rain."}]
    with pytest.raises(BadRow, match="leaves out the words beside a call, 'Bern'"):
        encoder.supervised(row)


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
            assert CONTROL.search(text) or "<|im_end|>" in text
    assert (len(refused) == 4) == (name in _VISION), refused


@pytest.mark.parametrize("name", ["llama3_1", "gemma4"])
def test_a_template_without_a_training_form_is_refused(base: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(Untrainable, match="no training form"):
        training_template(with_template(base, tmp_path / name, name))
