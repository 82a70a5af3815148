"""`tunehook keys create|list|change|rotate|revoke`."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from typing import Annotated

from cyclopts import App, Parameter

from cli import local_store
from cli.lines import clean, tell
from cli.options import AsJson
from tunehook import api_keys, settings
from tunehook.errors import TunehookError
from tunehook.model.api_key import OF_A_PROJECT, Scope
from tunehook.security.encryption import Encryption
from tunehook.store.store import Store

app = App(
    name="keys",
    help="Make, list, change and revoke API keys.",
    help_epilogue="Give each team a project of its own:\n\n    tunehook keys create --project search --name laptop",
)
Scopes = Annotated[str, Parameter(help="of read, write, chat, webhooks, with commas between (default: all four)")]
Day = Annotated[str, Parameter(help="the day (UTC) from which it is refused, such as 2027-01-31 (default: never)")]


class NotADay(TunehookError):
    """'{text}' is no day. Write it as 2027-01-31, or 'never'."""


class NotAScope(TunehookError):
    """There is no scope '{text}'. The scopes are {known}."""


@asynccontextmanager
async def _opened() -> AsyncIterator[tuple[Store, Encryption]]:
    url, encryption = local_store.find()
    async with Store.connect(url, replicas=settings.load().replicas) as store:
        yield store, encryption


@app.command
async def create(
    *, project: str = "default", name: str = "", scopes: Scopes = "", expires: Day = "never", admin: bool = False
) -> int:
    """Print a new key and its callback secret, once.

    Args:
        project: the project whose files, jobs and models it may use (default: default)
        name: shown in the list
        admin: of the whole deployment: it opens /v1/admin/* alone, and has no project
    """
    wanted = [Scope.ADMIN] if admin else _scopes(scopes) or list(OF_A_PROJECT)
    async with _opened() as (store, encryption):
        key, callback_secret = await api_keys.create(
            store, encryption, project=project, name=name, scopes=wanted, expires_at=_time(expires)
        )
    if Scope.ADMIN in wanted:
        tell(f"admin key:  {key}")
        tell("Store it now: only a hash of it is kept here. It opens /v1/admin/* alone.")
        return 0
    tell(f"project:          {project}")
    tell(f"API key:          {key}")
    tell(f"callback secret:  {callback_secret}")
    tell("Store both now: only a hash of the key is kept here, and the secret is not shown again.")
    return 0


@app.command(name="list")
async def list_keys(*, as_json: AsJson = False) -> int:
    """List keys; secrets are not kept and cannot be shown."""
    async with _opened() as (store, _):
        found, used = await store.api_keys.all(), await store.api_keys.used()
    if as_json:
        members = {"id", "project", "name", "scopes", "created_at", "expires_at", "revoked_at"}
        rows = [key.model_dump(mode="json", include=members) | {"last_used_on": used.get(key.id)} for key in found]
        tell(json.dumps(rows, indent=2))
        return 0
    tell(f"{'ID':<14}{'PROJECT':<16}{'NAME':<20}{'CREATED':<12}{'LAST USE':<12}{'STATE':<10}{'EXPIRES':<12}SCOPES")
    for key in found:
        expires = "never" if key.expires_at is None else api_keys.day_of(key.expires_at)
        scopes = "all" if tuple(key.scopes) == OF_A_PROJECT else " ".join(key.scopes)
        tell(
            f"{key.id:<14}{key.project or '-':<16}{clean(key.name or '-'):<20}{api_keys.day_of(key.created_at):<12}"
            f"{used.get(key.id, 'never'):<12}{key.state(time.time()):<10}{expires:<12}{scopes}"
        )
    return 0


@app.command
async def change(id_: str, /, *, name: str | None = None, scopes: Scopes = "", expires: Day | None = None) -> int:
    """Change a key from its next request on.

    Args:
        id_: as the list shows it, or the whole key
        name: shown in the list
    """
    async with _opened() as (store, _):
        key = await api_keys.change(
            store,
            id_,
            name=name,
            scopes=_scopes(scopes) or None,
            expires_at=_time(expires or "never"),
            forever=expires == "never",
        )
    ends = "does not expire" if key.expires_at is None else f"expires on {api_keys.day_of(key.expires_at)}"
    tell(f"{key.id} ({key.name or 'no name'}): {' '.join(key.scopes)}; it {ends}.")
    return 0


@app.command
async def rotate(id_: str, /, *, keep_old: bool = False) -> int:
    """Print a new secret for a key, once. Its id, scopes and callback secret stay.

    Args:
        id_: as the list shows it, or the whole key
        keep_old: the old one works for 24 hours more
    """
    async with _opened() as (store, _):
        text, _ = await api_keys.rotate(store, id_, keep_old=keep_old, now=int(time.time()))
    tell(f"API key:  {text}")
    tell(
        "Store it now. "
        + ("The old one works for 24 hours more." if keep_old else "The old one is refused from now on.")
    )
    return 0


@app.command
async def revoke(id_: str, /) -> int:
    """Refuse a key from its next request on.

    Args:
        id_: as the list shows it, or the whole key
    """
    async with _opened() as (store, _):
        key = await api_keys.revoke(store, id_)
    tell(f"{key.id} is revoked. Webhooks of its jobs are still signed with its callback secret.")
    return 0


def _scopes(text: str) -> Sequence[Scope]:
    names = [name for name in text.replace(",", " ").split() if name]
    for name in names:
        if name not in list(Scope):
            raise NotAScope(text=name, known=", ".join(Scope))
    return [Scope(name) for name in names]


def _time(day: str) -> int | None:
    """Returns the beginning of a day in UTC as unix seconds; None for `never`."""
    if day == "never":
        return None
    try:
        return int(datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC).timestamp())
    except ValueError:
        raise NotADay(text=day) from None
