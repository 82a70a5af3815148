"""Signs and verifies webhooks by Standard Webhooks (`v1`): https://www.standardwebhooks.com.

The signed text is `id.timestamp.body`, with the exact bytes of the body; the algorithm is HMAC-SHA256.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets as random_source
from collections.abc import Mapping, Sequence

from tunehook.errors import TunehookError

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"
TOLERANCE = 300  # seconds either way; the verifiers of OpenAI, Standard Webhooks and Svix use the same
_PREFIX = "whsec_"
_SECRET_BYTES = range(24, 65)  # what Standard Webhooks permits


class SecretMalformed(TunehookError):
    """A webhook secret is `whsec_` and the base64 of 24 to 64 random bytes; {why}."""


class SignatureRejected(TunehookError):
    """The webhook was not proved to come from a holder of the secret; the subclass says why."""


class HeaderMissing(SignatureRejected):
    """The header `{header}` is {how}."""


class TimestampMalformed(SignatureRejected):
    """`webhook-timestamp` is not a whole number of seconds since 1970."""


class TimestampTooOld(SignatureRejected):
    """`webhook-timestamp` is {age} s old; at most {tolerance} s are accepted. A replay, or a wrong clock."""


class TimestampTooNew(SignatureRejected):
    """`webhook-timestamp` is {ahead} s in the future; at most {tolerance} s are accepted. Check clocks."""


class SignatureUnsupported(SignatureRejected):
    """`webhook-signature` holds no `v1` signature, the only kind made with a shared secret."""


class SignatureMismatch(SignatureRejected):
    """No signature fits: another secret, or the body, id or timestamp was changed on the way."""


def new_secret() -> str:
    return _PREFIX + base64.b64encode(random_source.token_bytes(32)).decode()


def decode_secret(secret: str) -> bytes:
    """Returns the key's bytes. Missing `=` at the end is accepted, as by the public verifiers.

    Raises SecretMalformed, which does not quote the secret, since messages end in logs.
    """
    if not secret.startswith(_PREFIX):
        raise SecretMalformed(why="this one does not start with `whsec_`")
    text = secret.removeprefix(_PREFIX).rstrip("=")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise SecretMalformed(why="this one is not base64 after `whsec_`") from None
    if len(key) not in _SECRET_BYTES:
        raise SecretMalformed(why=f"this one holds {len(key)}")
    return key


def sign(secrets: Sequence[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Returns the three headers of one attempt.

    With several secrets (for 24 hours after a rotation) the header has a signature by each, so that a receiver may
    hold either. `timestamp` is the attempt's, in unix seconds; `message_id` is the same for all attempts. Raises
    SecretMalformed.
    """
    if not secrets:
        raise SecretMalformed(why="none was given to sign with")
    signed = _signed_text(message_id, str(timestamp), body)
    return {
        ID_HEADER: message_id,
        TIMESTAMP_HEADER: str(timestamp),
        SIGNATURE_HEADER: " ".join(_signature(secret, signed) for secret in secrets),
    }


def verify(
    secrets: Sequence[str], headers: Mapping[str, str], body: bytes, *, now: int, tolerance: int = TOLERANCE
) -> None:
    """Raises SignatureRejected unless a secret signed this within `tolerance` seconds of `now`.

    `headers` may be hostile: they raise nothing else. `secrets` are ours: a bad one raises SecretMalformed.
    """
    message_id = _only(headers, ID_HEADER)
    timestamp = _only(headers, TIMESTAMP_HEADER)
    given = _only(headers, SIGNATURE_HEADER).split(" ")

    # int() would take "1_0", " 7" and digits of other scripts: the signed text would no longer be one text.
    if not re.fullmatch("[0-9]{1,12}", timestamp):
        raise TimestampMalformed
    age = now - int(timestamp)
    if age > tolerance:
        raise TimestampTooOld(age=age, tolerance=tolerance)
    if age < -tolerance:
        raise TimestampTooNew(ahead=-age, tolerance=tolerance)

    # Base64 text is compared as text: one signature has one spelling, and hostile base64 is never decoded.
    offered = [entry.encode() for entry in given if entry.startswith("v1,") and entry.isascii()]
    if not offered:
        raise SignatureUnsupported
    signed = _signed_text(message_id, timestamp, body)
    expected = [_signature(secret, signed).encode() for secret in secrets]
    if not any(hmac.compare_digest(ours, theirs) for ours in expected for theirs in offered):
        raise SignatureMismatch


def _signed_text(message_id: str, timestamp: str, body: bytes) -> bytes:
    # A web server hands over bytes that are not UTF-8 as lone surrogates: those must mismatch, not fail.
    return f"{message_id}.{timestamp}.".encode(errors="surrogatepass") + body


def _signature(secret: str, signed: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(decode_secret(secret), signed, hashlib.sha256)).decode()


def _only(headers: Mapping[str, str], name: str) -> str:
    """Returns the header's one value. Two are refused: the caller might read the unverified one."""
    values = [value for key, value in headers.items() if key.lower() == name]
    if len(values) != 1 or not values[0]:
        raise HeaderMissing(header=name, how="given twice" if len(values) > 1 else "missing or empty")
    return values[0]
