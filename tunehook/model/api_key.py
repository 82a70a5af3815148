"""The API key record. Pure."""

from __future__ import annotations

from tunehook.model.record import Record


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
