"""Finds control tokens of the models' vocabularies, and the character NUL, in texts of a dataset."""

from __future__ import annotations

import re
from collections.abc import Callable

Say = Callable[[str, str, str], None]
# OpenAI refuses a file for one of these: «Example 6174 message contains an invalid token: <|fim_suffix|>.»
_CONTROL = re.compile(r"<\|(?:endoftext|startoftext|endofprompt|fim_(?:prefix|middle|suffix)|im_(?:start|end|sep))\|>")
MARK = ord("|")  #: every control token has it, and few texts


def check_text(text: str, at: str, say: Say) -> None:
    """Says where a text holds NUL or a control token."""
    if "\0" in text:
        say("nul_character", at, f"NUL at character {text.index(chr(0)) + 1}.")
    if "|" in text and "<|" in text and (found := _CONTROL.search(text)):
        say("control_token", at, f"{found[0]} at character {found.start() + 1}.")
