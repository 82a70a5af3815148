"""Serving: what answers chats. It stops while a job trains, where both would need the same GPU.

`transformers`: `transformers serve` as a child, which takes any folder; an adapter is merged when it is first asked.
`vllm`: a vLLM that the operator runs on one base; its adapters lie in `<data>/adapters/`, by name.
`none`: any OpenAI chat URL, or no chat at all.
"""

import asyncio
import contextlib
import logging
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from trainer import rows
from trainer.settings import Config, environment_of_child
from trainer.templates import Untrainable, chat_template
from trainer.work import ending_with_us
from wire.problems import Problem, bad

_LOG = logging.getLogger(__name__)
_OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
_LOOK_SECONDS = 0.3
#: Members of a chat that `transformers serve` heeds. It would take a template and a whole configuration as well.
_HEEDED = frozenset(
    {"model", "messages", "stream", "temperature", "top_p", "max_tokens", "max_completion_tokens", "stop", "seed"}
    | {"frequency_penalty", "logit_bias", "tools"}
)
#: Members that would change the answer, with the values that ask for nothing.
_NOT_HEEDED: Mapping[str, tuple[object, ...]] = {
    "n": (1,),
    "response_format": ({"type": "text"},),
    "logprobs": (False,),
    "presence_penalty": (0,),
    "tool_choice": ("auto", "none"),
}


class Serving:
    """One per API process."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._watch: asyncio.Task[None] | None = None
        self._url: str | None = None
        self._merging = asyncio.Lock()

    @property
    def url(self) -> str | None:
        """Where chats go, ending in /v1; None while nothing serves."""
        return self._url

    async def start(self) -> None:
        """Starts to serve, or sees that it is starting. `url` is set once it answers."""
        if self._config.serve != "transformers":
            self._url = self._config.serving_url.rstrip("/") or None
        elif self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Ends what serves, and frees its GPU."""
        self._url = None
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
            self._watch = None

    async def _run(self) -> None:
        """Runs `transformers serve` until it ends or is stopped."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = Path(sys.executable).with_name("transformers")
        try:
            with (self._config.data_dir / "serving.log").open("wb") as log:
                child = await asyncio.create_subprocess_exec(
                    *(command, "serve", "--host", "127.0.0.1", "--port", str(port)),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment_of_child(self._config.slots.split(";")[0]) | _OFFLINE,
                    preexec_fn=ending_with_us(),
                )
        except OSError as error:
            _LOG.warning("transformers serve cannot be started (it is in tunehook[trainer]): %r", error)
            return
        try:
            await self._await_health(child, f"http://127.0.0.1:{port}")
            await child.wait()
            _LOG.warning("transformers serve ended (%s); see serving.log", child.returncode)
        finally:
            self._url = None
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()

    async def _await_health(self, child: asyncio.subprocess.Process, url: str) -> None:
        async with aiohttp.ClientSession(trust_env=False) as session:
            while child.returncode is None:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"{url}/health") as answer:
                        if answer.status == 200:
                            self._url = f"{url}/v1"
                            return
                await asyncio.sleep(_LOOK_SECONDS)

    async def served_as(self, name: str, folder: Path) -> str:
        """Returns the name of a model there. Raises Problem 503: its adapter cannot be merged."""
        is_adapter = await asyncio.to_thread((folder / "adapter_config.json").exists)
        if self._config.serve == "transformers":
            return str(await self._merged(folder) if is_adapter else folder)
        if self._config.serve == "vllm":
            if not is_adapter:
                return str(folder)
            await asyncio.to_thread(_link, self._config.data_dir / "adapters" / name, folder)
        return name

    async def _merged(self, folder: Path) -> Path:
        async with self._merging:
            merged = folder / "merged"
            if not await asyncio.to_thread(merged.exists):
                child = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "trainer.tune.merge", str(folder)),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env=environment_of_child("cpu") | _OFFLINE,
                    preexec_fn=ending_with_us(),
                )
                _, told = await child.communicate()
                if child.returncode != 0:
                    last = told.decode(errors="replace").strip().splitlines()[-1:]
                    raise Problem(503, f"The model cannot be merged: {last}", "serving_failed", None, "server_error")
            return merged

    def prepared(self, body: Mapping[str, Any], folder: Path) -> dict[str, Any]:
        """Returns a chat as the model was trained on it. Raises Problem 400 for what cannot be answered."""
        found = dict(body)
        try:
            messages = rows.cleaned(body["messages"], chat_template(folder))
            tools = rows.tools_of(body)
        except Untrainable:  # not a chat model of ours
            return found
        except (rows.BadRow, KeyError, TypeError, AttributeError) as error:
            raise bad(f"Invalid 'messages': {error}", param="messages", code="invalid_value") from error
        found["messages"] = [rows.as_sent(message) for message in messages]
        if self._config.serve != "transformers":
            return found
        if tools is not None and body.get("tool_choice") != "none":
            found["tools"] = tools
        else:
            found.pop("tools", None)
        for member, nothing in _NOT_HEEDED.items():
            if body.get(member) is not None and body[member] not in nothing:
                raise bad(f"'{member}' is not supported by what serves this model.", param=member, code="unsupported")
        return {member: value for member, value in found.items() if member in _HEEDED and value is not None}


def _link(name: Path, folder: Path) -> None:
    """Makes an adapter known by its name. Names are never used twice, so a link never changes."""
    name.parent.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        name.symlink_to(folder)
