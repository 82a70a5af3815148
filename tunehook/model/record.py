from __future__ import annotations

import secrets

from pydantic import BaseModel, ConfigDict

#: Version of the record format. An older program leaves newer records alone (a rolling upgrade has both).
RECORD_VERSION = 1
#: For so long an SDK's own retry is taken for a repeat of what was done.
REPEAT_SECONDS = 900


class Record(BaseModel):
    """Base of everything that is stored as JSON: unknown members of a newer version survive being rewritten."""

    model_config = ConfigDict(extra="allow", frozen=True)


def new_id(prefix: str) -> str:
    """`<prefix><24 characters>`, 142 random bits in base 62, as OpenAI's ids look."""
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    number, digits = secrets.randbits(142), []
    for _ in range(24):
        number, digit = divmod(number, 62)
        digits.append(alphabet[digit])
    return prefix + "".join(digits)
