"""The API key record. Pure."""

from __future__ import annotations

import re

from tunehook.model.record import Record

#: th_<id>_<secret>
KEY_FORM = re.compile(r"th_([a-z0-9]{6,32})_([A-Za-z0-9_-]{43})", re.ASCII)


class ApiKey(Record):
    """An API key: a hash of its secret, and its callback secret, encrypted."""

    id: str
    project: str
    name: str
    secret_sha256: str
    callback_secret: str  #: encrypted
    old_callback_secret: str | None = None  #: encrypted; also signs until `old_callback_secret_until`
    old_callback_secret_until: int | None = None
    callback_rotated_at: int | None = None
    created_at: int
    revoked_at: int | None = None
