"""Subscriptions as the official SDK drives them."""

import base64
import time
from typing import Any

import openai
import pytest
from standardwebhooks.webhooks import Webhook

from tests.contract.checker import Contract
from tests.fakes.misbehaving_receiver import Misbehaving
from tests.fakes.receiver import Receiver
from tests.integration.webhooks.conftest import Office
from tunehook.webhooks import event_types

ENDS: Any = ["fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"]


async def test_the_whole_life_of_a_subscription(office: Office, receiver: Receiver) -> None:
    hooks = office.client.webhooks
    made = await hooks.create(name="production", url=receiver.url, event_types=ENDS)
    assert made.id.startswith("we_")
    assert len(base64.b64decode(made.signing_secret.removeprefix("whsec_"))) == 32
    shown = await hooks.retrieve(made.id)
    assert (shown.name, shown.url, shown.event_types) == ("production", receiver.url, ENDS)
    assert not hasattr(shown, "signing_secret")
    assert shown.signing_secret_hint == made.signing_secret_hint
    assert str(shown.signing_secret_hint)[:10] == made.signing_secret[:10]

    renamed = await hooks.update(made.id, name="staging")
    assert (renamed.name, renamed.url) == ("staging", receiver.url)
    deleted = await hooks.delete(made.id)
    assert (deleted.id, deleted.deleted) == (made.id, True)
    with pytest.raises(openai.NotFoundError, match="No such webhook endpoint"):
        await hooks.retrieve(made.id)
    assert not (await hooks.list()).data


async def test_lists_come_newest_first_in_pages(office: Office, offices: list[Office]) -> None:
    hooks = office.client.webhooks
    ids = [(await hooks.create(name=str(n), url="https://you.example/h", event_types=ENDS)).id for n in range(5)]
    await offices[1].client.webhooks.create(name="theirs", url="https://you.example/h", event_types=ENDS)
    assert [endpoint.id async for endpoint in hooks.list(limit=2)] == ids[::-1]
    first = await hooks.list(limit=2)
    assert first.has_more


async def test_without_types_it_is_openais_three_and_ours_only_by_name(office: Office) -> None:
    made = await office.post("/v1/webhook_endpoints", {"name": "plain", "url": "https://you.example/h"})
    assert made["event_types"] == ENDS
    listed = (await office.client.webhooks.event_types.list()).data
    assert listed == list(event_types.ALL)
    assert listed[:3] == ENDS


async def test_secrets_are_not_readable_in_redis(office: Office) -> None:
    made = await office.client.webhooks.create(name="n", url="https://you.example/h", event_types=ENDS)
    fields = await office.ctx.store.redis.hgetall(f"th:endpoint:{made.id}")
    secret = made.signing_secret.removeprefix("whsec_")
    assert fields["doc"]
    assert secret not in fields["doc"]
    assert secret[8:-8] not in str(fields)


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({"url": "https://you.example/h"}, "name", "Missing"),
        ({"name": "n"}, "url", "Missing"),
        ({"name": "n", "url": "http://you.example/h"}, "url", "TUNEHOOK_WEBHOOK_ALLOW"),
        ({"name": "n", "url": "https://169.254.169.254/latest"}, "url", "link-local"),
        ({"name": "n", "url": "https://user:pw@you.example/"}, "url", "user info"),
        ({"name": "n", "url": "https://you.example:22/"}, "url", "port"),
        ({"name": "", "url": "https://you.example/h"}, "name", "at least 1"),
        ({"name": "n" * 257, "url": "https://you.example/h"}, "name", "at most 256"),
        ({"name": "n", "url": "https://you.example/h", "event_types": []}, "event_types", "at least 1"),
        (
            {"name": "n", "url": "https://you.example/h", "event_types": ["batch.completed"]},
            "event_types",
            "is none of fine_tuning",
        ),
        ({"name": "n", "url": "https://you.example/h", "event_types": [ENDS[0]] * 2}, "event_types", "twice"),
        ({"name": "n", "url": "https://you.example/h", "secret": "mine"}, "secret", "Unknown"),
        ({"name": 7, "url": "https://you.example/h"}, "name", "string"),
    ],
)
async def test_what_is_refused_says_why(office: Office, body: dict[str, Any], param: str, words: str) -> None:
    error = (await office.post("/v1/webhook_endpoints", body, status=400))["error"]
    assert error["param"] == param
    assert words in error["message"]


async def test_another_project_sees_and_changes_nothing(offices: list[Office]) -> None:
    made = await offices[0].client.webhooks.create(name="n", url="https://you.example/h", event_types=ENDS)
    theirs = offices[1]
    await theirs.get(f"/v1/webhook_endpoints/{made.id}", status=404)
    await theirs.get(f"/v1/webhook_endpoints/{made.id}/deliveries", status=404)
    for verb in ("rotate_secret", "enable"):
        await theirs.post(f"/v1/webhook_endpoints/{made.id}/{verb}", status=404)
    await theirs.post(f"/v1/webhook_endpoints/{made.id}", {"name": "x"}, status=404)
    await theirs.post(f"/v1/webhook_endpoints/{made.id}/test", {"event_type": ENDS[0]}, status=404)
    await theirs.post(f"/v1/webhook_endpoints/{made.id}/recover", {"since": 0}, status=404)
    with pytest.raises(openai.NotFoundError):
        await theirs.client.webhooks.delete(made.id)
    assert (await offices[0].client.webhooks.retrieve(made.id)).name == "n"


def _verifies(secret: str, hook: Any) -> bool:
    try:
        Webhook(secret).verify(hook.body, dict(hook.headers))
    except Exception:
        return False
    return True


async def test_a_rotation_with_overlap_is_signed_by_both_secrets(office: Office, receiver: Receiver) -> None:
    hooks = office.client.webhooks
    made = await hooks.create(name="n", url=receiver.url, event_types=ENDS)
    rotated = await hooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    assert rotated.signing_secret != made.signing_secret
    await office.happen()
    await office.deliver()
    hook = receiver.hooks[0]
    assert _verifies(made.signing_secret, hook)
    assert _verifies(rotated.signing_secret, hook)
    assert len(hook.headers["webhook-signature"].split(" ")) == 2

    # A day later the old one signs no more.
    record = await office.ctx.store.endpoints.read(made.id)
    passed = record.endpoint.model_copy(update={"old_secret_until": 1})
    await office.ctx.store.commit(record.change(passed))
    await office.happen()
    await office.deliver()
    assert not _verifies(made.signing_secret, receiver.hooks[1])
    assert _verifies(rotated.signing_secret, receiver.hooks[1])


async def test_a_plain_rotation_ends_the_old_secret_at_once(office: Office, receiver: Receiver) -> None:
    hooks = office.client.webhooks
    made = await hooks.create(name="n", url=receiver.url, event_types=ENDS)
    await office.happen()  # made before, signed after
    rotated = await hooks.rotate_secret(made.id)
    await office.deliver()
    assert not _verifies(made.signing_secret, receiver.hooks[0])
    assert _verifies(rotated.signing_secret, receiver.hooks[0])


async def test_the_callback_secret_rotates_the_same_way(office: Office, receiver: Receiver) -> None:
    answer = await office.post("/v1/callback_secret/rotate", {"keep_old_secret_active_for_24_hours": True})
    assert answer["old_secret_active_until"]
    await office.happen(callback_url=receiver.url)
    await office.deliver()
    assert _verifies(office.callback_secret, receiver.hooks[0])
    assert _verifies(answer["signing_secret"], receiver.hooks[0])
    last = await office.post("/v1/callback_secret/rotate")
    assert last["old_secret_active_until"] is None
    await office.happen(callback_url=receiver.url)
    await office.deliver()
    assert not _verifies(answer["signing_secret"], receiver.hooks[1])
    assert _verifies(last["signing_secret"], receiver.hooks[1])


async def test_what_an_sdk_repeats_is_done_once_and_answered_again(office: Office) -> None:
    """The answer of the first call was lost: with a second secret, the receiver's own would sign no more."""
    retry = {"x-stainless-retry-count": "1"}
    hooks, body = office.client.webhooks, {"name": "n", "url": "https://example.com/h", "event_types": ENDS}
    made = await hooks.create(**body)
    again = await hooks.create(**body, extra_headers=retry)
    assert (again.id, again.signing_secret) == (made.id, made.signing_secret)
    assert (await hooks.create(**body)).id != made.id

    first = await hooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    second = await hooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True, extra_headers=retry)
    assert second.signing_secret == first.signing_secret != made.signing_secret
    record = await office.ctx.store.endpoints.read(made.id)
    signing = [office.ctx.webhooks.encryption.decrypt(sealed) for sealed in record.endpoint.secrets(time.time())]
    assert signing == [first.signing_secret, made.signing_secret]

    keep = {"keep_old_secret_active_for_24_hours": True}
    lost = await office.post("/v1/callback_secret/rotate", keep)
    answer = await office.http.post("/v1/callback_secret/rotate", json=keep, headers=retry)
    assert answer.json()["signing_secret"] == lost["signing_secret"]
    assert (await office.post("/v1/callback_secret/rotate", keep))["signing_secret"] != lost["signing_secret"]


@pytest.mark.parametrize("kind", event_types.ALL)
async def test_a_test_is_a_real_signed_delivery(
    office: Office, receiver: Receiver, contract: Contract, kind: Any
) -> None:
    made = await office.subscribe(receiver.url, kind)
    said = await office.client.webhooks.test(made["id"], event_type=kind)
    assert (said.status_code, said.success, said.event_type) == (204, True, kind)
    hook = receiver.hooks[0]
    contract.check_webhook(hook.body, hook.headers)
    event = office.client.webhooks.unwrap(hook.body, dict(hook.headers), secret=made["signing_secret"])
    assert event.type == kind


async def test_a_test_says_what_the_server_answered_or_that_it_did_not(office: Office, bad: Misbehaving) -> None:
    made = await office.subscribe(f"{bad.root}/500", ENDS[0])
    assert (await office.client.webhooks.test(made["id"], event_type=ENDS[0])).status_code == 500
    silent = await office.subscribe(f"{bad.root}/reset", ENDS[0])
    with pytest.raises(openai.BadRequestError, match="the connection broke"):
        await office.client.webhooks.test(silent["id"], event_type=ENDS[0])
    error = (await office.post(f"/v1/webhook_endpoints/{made['id']}/test", {"event_type": "nonsense"}, status=400))[
        "error"
    ]
    assert error["param"] == "event_type"
