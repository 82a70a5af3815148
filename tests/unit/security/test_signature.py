"""What we sign, three verifiers by others accept; what was changed, nobody accepts."""

import base64
import contextlib
import json
import random
import time
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import openai
import pytest
import standardwebhooks
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from tunehook.security import signature
from tunehook.security.signature import SecretMalformed, SignatureRejected, decode_secret, new_secret, sign, verify

VECTOR_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NOW = 1_790_000_000
Verifier = Callable[[bytes, dict[str, str]], object]
_client = openai.OpenAI(api_key="not used", base_url="http://127.0.0.1:9")
# What each of the three may raise at hostile input; standardwebhooks lets bare errors through (1.1.0).
REFUSALS = (
    openai.InvalidWebhookSignatureError,
    standardwebhooks.WebhookVerificationError,
    ValueError,
)


@cache
def svix() -> Any:
    """Svix's module of webhooks. Its package imports the client of a whole API: 0.3 s, if each process collected it."""
    return import_module("svix.webhooks")


def verifiers(secret: str) -> dict[str, Verifier]:
    standard, by_svix = standardwebhooks.Webhook(secret), svix().Webhook(secret)
    return {
        "ours": lambda body, headers: verify([secret], headers, body, now=int(time.time())),
        "openai": lambda body, headers: _client.webhooks.verify_signature(body, headers, secret=secret),
        "standardwebhooks": lambda body, headers: standard.verify(body, headers, json_parse=False),
        "svix": by_svix.verify,
    }


def refuses(accept: Verifier, body: bytes, headers: dict[str, str]) -> bool:
    try:
        accept(body, headers)
    except (SignatureRejected, *REFUSALS):
        return True
    return False


def random_body(source: random.Random) -> bytes:
    """JSON as we send it and any other text: all of Unicode, empty and 20 kB included."""
    length = source.choice((0, 1, 20, 300, 20_000)) if source.random() < 0.02 else source.randrange(60)
    top = source.choice((0x7F, 0x7FF, 0xD7FF, 0x10FFFF))
    points = (source.randrange(top + 1) for _ in range(length))
    text = "".join(chr(point) for point in points if not 0xD800 <= point <= 0xDFFF)
    if source.random() < 0.5:
        return text.encode()
    event = {"type": "fine_tuning.job.succeeded", "data": {"id": text}, "n": source.random()}
    return json.dumps(event, ensure_ascii=source.random() < 0.5).encode()


def test_ten_thousand_random_bodies_are_accepted_by_all_and_changed_ones_by_none() -> None:
    source = random.Random(6)  # noqa: S311 a seed, so that a failure can be seen again
    secret, other = new_secret(), new_secret()
    accepting = verifiers(secret)
    for n in range(10_000):
        body, message_id, now = random_body(source), f"msg_{n}", int(time.time())
        headers = sign([secret], message_id, now, body)
        for name, accept in accepting.items():
            assert not refuses(accept, body, headers), f"{name} refused {body!r}"

        at = source.randrange(len(body) + 1)
        forged = f"v1,{base64.b64encode(source.randbytes(32)).decode()}"
        hostile = {
            "body": (body[:at] + b"x" + body[at:], headers),
            "id": (body, headers | {"webhook-id": message_id + "0"}),
            "timestamp": (body, headers | {"webhook-timestamp": str(now - 1)}),
            "age": (body, sign([secret], message_id, now - 301, body)),
            "secret": (body, sign([other], message_id, now, body)),
            "signature": (body, headers | {"webhook-signature": forged}),
        }
        for what, (changed_body, changed_headers) in hostile.items():
            for name, accept in accepting.items():
                assert refuses(accept, changed_body, changed_headers), f"{name} accepted another {what}"


def test_openai_unwraps_what_we_sign() -> None:
    secret = new_secret()
    body = json.dumps(
        {
            "id": "evt_1",
            "object": "event",
            "created_at": NOW,
            "type": "fine_tuning.job.succeeded",
            "data": {"id": "ftjob-1", "fine_tuned_model": "ft:gpt-4.1-mini:acme::1"},
        }
    ).encode()
    event = _client.webhooks.unwrap(body, sign([secret], "evt_1", int(time.time()), body), secret=secret)
    assert event.type == "fine_tuning.job.succeeded"
    assert event.data.id == "ftjob-1"
    assert event.data.model_extra == {"fine_tuned_model": "ft:gpt-4.1-mini:acme::1"}


def test_the_public_vector_reproduces() -> None:
    body = b'{"test": 2432232314}'
    headers = sign([VECTOR_SECRET], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    verify([VECTOR_SECRET], headers, body, now=1614265330)


def test_after_a_rotation_a_receiver_may_hold_either_secret() -> None:
    old, new = new_secret(), new_secret()
    headers = sign([new, old], "msg_1", int(time.time()), b"{}")
    for held in (old, new):
        for name, accept in verifiers(held).items():
            assert not refuses(accept, b"{}", headers), name
    # And the other way round: an upstream that rotated signs with one, we hold both.
    verify([new, old], sign([old], "msg_1", NOW, b"{}"), b"{}", now=NOW)


def test_header_names_of_any_case_and_kind_of_mapping_will_do() -> None:
    secret = new_secret()
    headers = sign([secret], "msg_1", NOW, b"{}")
    verify([secret], CIMultiDict(headers), b"{}", now=NOW)
    verify([secret], {name.title(): value for name, value in headers.items()}, b"{}", now=NOW)


@pytest.mark.parametrize("age", [-300, 0, 300])
def test_five_minutes_either_way_are_accepted(age: int) -> None:
    secret = new_secret()
    verify([secret], sign([secret], "msg_1", NOW - age, b"{}"), b"{}", now=NOW)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"webhook-id": None}, signature.HeaderMissing),
        ({"webhook-signature": ""}, signature.HeaderMissing),
        ({"Webhook-Id": "msg_2"}, signature.HeaderMissing),  # beside the right one
        ({"webhook-timestamp": "17.5"}, signature.TimestampMalformed),
        ({"webhook-timestamp": "1_790_000_000"}, signature.TimestampMalformed),
        ({"webhook-timestamp": "١٧٩٠٠٠٠٠٠٠"}, signature.TimestampMalformed),
        ({"webhook-timestamp": "9" * 5000}, signature.TimestampMalformed),
        ({"webhook-timestamp": "-1"}, signature.TimestampMalformed),
        ({"webhook-timestamp": str(NOW - 301)}, signature.TimestampTooOld),
        ({"webhook-timestamp": str(NOW + 301)}, signature.TimestampTooNew),
        ({"webhook-signature": "v1a,AAAA"}, signature.SignatureUnsupported),
        ({"webhook-signature": "v1"}, signature.SignatureUnsupported),
        ({"webhook-signature": "v1,\udcff"}, signature.SignatureUnsupported),
        ({"webhook-signature": "v1,AAAA v1,!!!"}, signature.SignatureMismatch),
        ({"webhook-id": "msg_\udcff"}, signature.SignatureMismatch),
    ],
)
def test_a_rejection_says_why(change: dict[str, str | None], why: type[SignatureRejected]) -> None:
    secret = new_secret()
    changed = sign([secret], "msg_1", NOW, b"{}") | change
    headers = {name: value for name, value in changed.items() if value is not None}
    with pytest.raises(why) as caught:
        verify([secret], headers, b"{}", now=NOW)
    assert "webhook-" in str(caught.value) or "secret" in str(caught.value)


hostile_text = st.one_of(
    st.text(st.characters(exclude_categories=())),
    st.text("v1,a= .0123456789-\udcff", max_size=40),
    st.integers().map(str),
)


@settings(max_examples=500, deadline=None)
@given(
    headers=st.dictionaries(
        st.sampled_from(["webhook-id", "Webhook-Timestamp", "webhook-timestamp", "webhook-signature", "x"]),
        hostile_text,
    ),
    body=st.binary(max_size=50),
)
def test_strangers_headers_raise_a_rejection_and_nothing_else(headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(SignatureRejected):
        verify([VECTOR_SECRET], headers, body, now=NOW)


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]),
    value=hostile_text,
    near=st.integers(NOW - 5, NOW + 5),
)
def test_one_hostile_header_among_good_ones_is_rejected(name: str, value: str, near: int) -> None:
    good = sign([VECTOR_SECRET], "msg_1", near, b"{}")
    if good[name] == value:
        return
    with pytest.raises(SignatureRejected):
        verify([VECTOR_SECRET], good | {name: value}, b"{}", now=NOW)


def test_secrets_are_new_each_time_and_32_bytes() -> None:
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert {len(decode_secret(secret)) for secret in secrets} == {32}


def test_missing_padding_is_forgiven() -> None:
    secret = new_secret()
    assert secret.endswith("=")
    assert decode_secret(secret.rstrip("=")) == decode_secret(secret)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_",
        "whsec_not base64!",
        "whsec_ünïcode",
        "whsec_A",
        "whsec_MfKQ9r8GKYqr\nTwjUPD8ILPZIo2LaLaSw",
        "whsec_" + base64.b64encode(b"x" * 23).decode(),
        "whsec_" + base64.b64encode(b"x" * 65).decode(),
    ],
)
def test_a_malformed_secret_is_said_and_not_quoted(secret: str) -> None:
    with pytest.raises(SecretMalformed) as caught:
        decode_secret(secret)
    assert "24 to 64 random bytes; this one" in str(caught.value)
    assert len(secret) < 10 or secret.removeprefix("whsec_") not in str(caught.value)


def test_signing_with_nothing_is_refused() -> None:
    with pytest.raises(SecretMalformed):
        sign([], "msg_1", NOW, b"{}")


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=())).map(lambda text: "whsec_" + text))
def test_any_text_as_secret_decodes_or_is_malformed(secret: str) -> None:
    with contextlib.suppress(SecretMalformed):
        assert 24 <= len(decode_secret(secret)) <= 64
