"""Bases with other templates, and what an encoder makes of a row, read back as text."""

import re
import shutil
from pathlib import Path
from typing import Any

from trainer.templates import known_templates
from trainer.tune.labels import IGNORED, Encoder

CONTROL = re.compile(r"<\|[\w ]+\|>|<\w+\|>|<\|\w+>|<\w+_of_turn>|<｜[^｜]+｜>")
CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"city": "Zürich", "n": 2}'}}
OTHER = {"id": "call_2", "type": "function", "function": {"name": "look_up", "arguments": '{"city": "Bern"}'}}
TOOLS = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}]


def with_template(base: Path, folder: Path, name: str, **token: bool) -> Path:
    """Makes a base whose template is one of TRL's, and whose tokenizer knows its control tokens, with these options."""
    from transformers import AddedToken, AutoTokenizer  # noqa: PLC0415

    template = (known_templates() / f"{name}.jinja").read_text("utf-8")
    tokenizer = AutoTokenizer.from_pretrained(base)
    found = sorted(set(CONTROL.findall(template)))
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


def prompted(encoder: Encoder, row: dict[str, Any]) -> list[int]:
    """Returns the tokens of a server's prompt for a row's last answer."""
    found = encoder.tokenizer.apply_chat_template(
        row["messages"][:-1], add_generation_prompt=True, tokenize=True, return_dict=True
    )
    return list(found["input_ids"])


def call(place: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "look_up", "arguments": f'{{"place": "{place}"}}'}}


_PLACE = {"type": "object", "properties": {"place": {"type": "string"}}}
LOOK_UP = [{"type": "function", "function": {"name": "look_up", "description": "d", "parameters": _PLACE}}]
