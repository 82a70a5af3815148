"""The webhook until it is taken."""

import base64
import hashlib
import hmac

from tests.e2e.story.conftest import Story


async def test_a_webhook_that_was_not_taken_comes_again_as_the_same_message(story: Story) -> None:
    story.receiver.answers = [500]
    await story.submit()
    first, second = await story.hooks(2)  # five seconds lie between them, ±20 %
    assert second.id == first.id
    assert second.body == first.body
    assert second.at - first.at > 3.9
    assert second.headers["webhook-timestamp"] > first.headers["webhook-timestamp"]
    assert second.headers["webhook-signature"] != first.headers["webhook-signature"]
    for hook in (first, second):
        assert abs(int(hook.headers["webhook-timestamp"]) - hook.at) < 60


async def test_its_signature_is_the_standards_own(story: Story) -> None:
    """By hand, as somebody without any library would verify it (standardwebhooks.com)."""
    await story.submit()
    [hook] = await story.hooks()
    key = base64.b64decode(story.caller.callback_secret.removeprefix("whsec_"))
    signed = f"{hook.id}.{hook.headers['webhook-timestamp']}.".encode() + hook.body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert hook.headers["webhook-signature"] == f"v1,{expected}"
    assert hook.headers["content-type"] == "application/json"
    assert hook.event["id"] == hook.id
