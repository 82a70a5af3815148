"""Who counts tokens: a child process, started at the first need and ended after a quiet minute.

A vocabulary takes 80 MiB, and counting 512 MB takes seconds of CPU: neither is the API's to spend.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tunehook.errors import TokensNotCounted
from tunehook.model import Counted

IDLE_SECONDS = 60.0


class CountingProcess:
    """One question at a time; the others wait for their turn."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._turn = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None

    async def count(self, path: Path, form: str, model: str) -> Counted:
        """Raises TokensNotCounted. Not to be cancelled half way: the answer would be the next one's."""
        async with self._turn:
            if self._idle is not None:
                self._idle.cancel()
            question = {"path": str(path), "format": form, "model": model}
            answer = await asyncio.to_thread(self._ask, json.dumps(question).encode() + b"\n")
            self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._rest)
        if "error" in answer:
            raise TokensNotCounted(why=answer["error"])
        return Counted.model_validate(answer)

    def _ask(self, question: bytes) -> dict[str, Any]:
        if self._child is None or self._child.poll() is not None:
            command = [sys.executable, "-m", "tunehook.token_child"]
            self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603
        child = self._child
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(question)
            child.stdin.flush()
            line = child.stdout.readline()
        except OSError:
            line = b""
        if not line:
            return {"error": f"the counting process ended with {child.wait()}"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _rest(self) -> None:
        """Nobody asked for a while: its stdin ends, and so does it; the next question starts another."""
        child, self._child = self._child, None
        if child is not None:
            asyncio.get_running_loop().run_in_executor(None, _let_go, child)

    async def close(self) -> None:
        """Whoever still waits for an answer gets an error."""
        if self._idle is not None:
            self._idle.cancel()
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            async with self._turn:
                await asyncio.to_thread(_let_go, child)


def _let_go(child: subprocess.Popen[bytes]) -> None:
    with child:  # closes its pipes and waits for its end
        pass
