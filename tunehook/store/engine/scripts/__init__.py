"""The Lua scripts, each atomic in Redis: their texts by name, and the command that runs one."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

Command = tuple[Any, ...]

SCRIPTS = {path.stem: path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.lua"))}
_DIGESTS = {name: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest() for name, text in SCRIPTS.items()}
_TEXTS = {_DIGESTS[name]: text for name, text in SCRIPTS.items()}


def call(script: str, keys: list[str], arguments: list[Any]) -> Command:
    """Returns the command that runs a script by its digest; Redis must know its text already."""
    return ("EVALSHA", _DIGESTS[script], len(keys), *keys, *arguments)


def with_texts(commands: list[Command]) -> list[Command]:
    """Returns the same calls for a Redis that does not know these scripts (anew): the first of each has its text."""
    first = {command[1]: place for place, command in reversed(list(enumerate(commands)))}
    return [
        ("EVAL", _TEXTS[command[1]], *command[2:]) if first[command[1]] == place else command
        for place, command in enumerate(commands)
    ]


#: Scripts whose results are told to a client or acted upon outside: replicas confirm them, where that is asked for.
#: By digest and by text.
_CONFIRMED = frozenset(
    form for name in ("cancel", "commit", "lease", "pull", "upload_part") for form in (_DIGESTS[name], SCRIPTS[name])
)


def has_to_last(command: Command) -> bool:
    """Returns whether the command runs a script whose result replicas have to confirm."""
    return command[0] in ("EVALSHA", "EVAL") and command[1] in _CONFIRMED
