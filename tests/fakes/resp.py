"""Redis' protocol, as far as a proxy needs it: where a command and where a reply ends, and what was said."""

from __future__ import annotations

import asyncio

#: Replies of RESP2 and RESP3 that are one line, and those that hold others (a map holds two for each).
_LINES = frozenset(b"+-:_,#(")
_NESTED = {ord("*"): 1, ord("~"): 1, ord(">"): 1, ord("%"): 2}


async def read_command(reader: asyncio.StreamReader) -> tuple[bytes, list[bytes]]:
    """The bytes as they came, and the words. IncompleteReadError at the end of the stream."""
    head = await _line(reader)
    raw, words = bytearray(head), []
    for _ in range(int(head[1:-2])):
        size = await _line(reader)
        word = await reader.readexactly(int(size[1:-2]) + 2)
        raw += size + word
        words.append(word[:-2])
    return bytes(raw), words


async def read_unit(reader: asyncio.StreamReader) -> tuple[bytes, list[list[bytes]]]:
    """A command, or a transaction from MULTI to EXEC: redis-py sends one in one piece."""
    raw, words = await read_command(reader)
    commands = [words]
    while commands[0][0].upper() == b"MULTI" and commands[-1][0].upper() not in (b"EXEC", b"DISCARD"):
        more, words = await read_command(reader)
        raw += more
        commands.append(words)
    return raw, commands


async def read_reply(reader: asyncio.StreamReader) -> bytes:
    head = await _line(reader)
    kind = head[0]
    if kind in _LINES:
        return head
    size = int(head[1:-2])
    if size < 0:
        return head
    if kind in _NESTED:
        return head + b"".join([await read_reply(reader) for _ in range(size * _NESTED[kind])])
    return head + await reader.readexactly(size + 2)  # $, !, =


async def _line(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n")
