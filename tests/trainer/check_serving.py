"""Serving by `transformers serve`: an adapter is merged when it is asked for, and answers; a stop frees all."""

import asyncio
import json
from pathlib import Path

import aiohttp

from tests.trainer.jobs import make_job, result, train
from trainer.serving import Serving
from trainer.settings import Config


async def test_an_adapter_answers_streams_and_stops(base: Path, tmp_path: Path) -> None:
    folder = make_job(tmp_path / "lora", base, training="lora", epochs=1)
    assert await asyncio.to_thread(train, folder) == 0
    adapter = Path(result(folder)["model_folder"])
    serving = Serving(Config.model_validate({"data_dir": tmp_path, "serve": "transformers"}))
    await serving.start()
    try:
        async with asyncio.timeout(300):
            while serving.url is None:  # noqa: ASYNC110  (a process tells no event)
                await asyncio.sleep(0.2)
        name = await serving.served_as("ft:tiny:local::1", adapter)
        assert name == str(adapter / "merged")
        assert await serving.served_as("ft:tiny:local::1", adapter) == name
        assert await serving.served_as("tiny", base) == str(base)
        asked = {
            "model": name,
            "messages": [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hello?"}],
            "max_tokens": 5,
            "stream": True,
            "metadata": {"a": "b"},
        }
        body = {**serving.prepared(asked, adapter), "model": name}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{serving.url}/chat/completions", json=body) as answer,
        ):
            assert answer.status == 200
            lines = [line.decode().strip() async for line in answer.content if line.strip()]
        assert all(line.startswith("data: ") for line in lines)
        assert json.loads(lines[0].removeprefix("data: "))["object"] == "chat.completion.chunk"
    finally:
        await serving.stop()
    assert serving.url is None
