"""The API key record, and what a key may do. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum

from tunehook.model.record import Record

#: th_<id>_<secret>
KEY_FORM = re.compile(r"th_([a-z0-9]{6,32})_([A-Za-z0-9_-]{43})", re.ASCII)


class Scope(StrEnum):
    """What a key may do: look, change things, ask models, manage webhooks, or administer the deployment."""

    READ = "read"
    WRITE = "write"
    CHAT = "chat"
    WEBHOOKS = "webhooks"
    ADMIN = "admin"


#: What a key may do unless it is made for less. Keys of older versions, which name no scopes, have these.
OF_A_PROJECT = (Scope.READ, Scope.WRITE, Scope.CHAT, Scope.WEBHOOKS)


class ApiKey(Record):
    """An API key: a hash of its secret, its scopes, and its callback secret, encrypted. Times are unix seconds."""

    id: str
    project: str  #: "" of an admin key, which belongs to the deployment
    name: str
    secret_sha256: str
    old_secret_sha256: str | None = None  #: the secret before the last rotation; valid until `old_secret_until`
    old_secret_until: int | None = None
    bootstrap_sha256: str | None = None  #: of the secret in TUNEHOOK_BOOTSTRAP_KEY, for a key that is made of it
    scopes: Sequence[Scope] = OF_A_PROJECT
    callback_secret: str  #: encrypted
    old_callback_secret: str | None = None  #: encrypted; also signs until `old_callback_secret_until`
    old_callback_secret_until: int | None = None
    callback_rotated_at: int | None = None
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None

    @property
    def is_admin(self) -> bool:
        return Scope.ADMIN in self.scopes

    def state(self, now: float) -> str:
        """Returns `active`, `revoked` or `expired`."""
        if self.revoked_at:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"
