"""The base of all stored records, and new ids."""

from __future__ import annotations

import secrets

from pydantic import BaseModel, ConfigDict

#: Version of the record format. An older program leaves newer records alone (a rolling upgrade has both).
RECORD_VERSION = 1
#: For so many seconds an SDK's retry of a call that succeeded returns the result of that call.
REPEAT_SECONDS = 900


class Record(BaseModel):
    """Base of all records. Members that only a newer version knows survive rewriting."""

    model_config = ConfigDict(extra="allow", frozen=True)


def new_id(prefix: str) -> str:
    """Returns `<prefix><24 characters>`: 142 random bits in base 62, like OpenAI's ids."""
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    number, digits = secrets.randbits(142), []
    for _ in range(24):
        number, digit = divmod(number, 62)
        digits.append(alphabet[digit])
    return prefix + "".join(digits)
