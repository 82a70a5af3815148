"""What a kind of upstream lacks is refused in words, before anything is sent."""

import pytest

from tunehook.errors import UpstreamUnsupported
from tunehook.settings import UpstreamSettings
from tunehook.upstreams.kinds import open_upstream


async def test_a_trainer_answers_chats_alone() -> None:
    settings = UpstreamSettings.model_validate({"kind": "trainer", "base_url": "http://127.0.0.1:9/v1", "api_key": "k"})
    upstream = open_upstream("local", settings)
    with pytest.raises(UpstreamUnsupported, match="Responses API"):
        upstream.respond({"model": "ft:tiny", "input": "Hello"})
    await upstream.close()
