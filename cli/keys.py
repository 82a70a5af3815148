"""`tunehook keys create|list|change|rotate|revoke`."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Annotated

from cyclopts import App, Parameter

from cli import local_store
from cli.failures import AskedWrongly
from cli.lines import say, tell
from cli.options import AsJson
from cli.terminal import Cells, print_rows, wrapped
from tunehook import api_keys, projects
from tunehook.model.api_key import OF_A_PROJECT, ApiKey, Scope
from tunehook.model.project import day_of

app = App(
    name="keys",
    help="Make, list, change and revoke API keys.",
    help_epilogue="Give each team a project of its own:\n\n    tunehook keys create --project search --name laptop",
)
Scopes = Annotated[
    str | None, Parameter(help="of read, write, chat, webhooks, with commas between (default: all four)")
]
Id = Annotated[str, Parameter(name="KEY", help="as the list shows it, or the whole key")]
#: As in the API.
NAME_CHARACTERS = 256
Day = Annotated[str, Parameter(help="the day (UTC) from which it is refused, such as 2027-01-31 (default: never)")]


class NotADay(AskedWrongly):
    """'{text}' is no day. Write it as 2027-01-31, or 'never'."""


class Past(AskedWrongly):
    """{text} is past, and the key would open nothing. `tunehook keys revoke KEY` ends one now."""


class NoChange(AskedWrongly):
    """Nothing would be changed. Give --name, --scopes or --expires."""


class NotOfAdmins(AskedWrongly):
    """A key with --admin has neither --project nor --scopes: it belongs to the deployment, and opens /v1/admin/* alone."""  # noqa: E501


class NameTooLong(AskedWrongly):
    """The name has {length:,} characters. It may have 256 at most."""


class NotAScope(AskedWrongly):
    """There is no scope '{text}'. The scopes are {known}."""


@app.command
async def create(
    *, project: str | None = None, name: str = "", scopes: Scopes = None, expires: Day = "never", admin: bool = False
) -> int:
    """Print a new key and its callback secret, once.

    Args:
        project: the project whose files, jobs and models it may use (default: default)
        name: shown in the list
        admin: of the whole deployment: it opens /v1/admin/* alone, and has no project
    """
    if admin and (project, scopes) != (None, None):
        raise NotOfAdmins  # without a word, the project or the scopes would not count
    project = "default" if project is None else project
    wanted = [Scope.ADMIN] if admin else list(OF_A_PROJECT) if scopes is None else _scopes(scopes)
    _check_name(name)
    async with local_store.opened() as (store, encryption):
        if not admin and (hint := await projects.check_name(store, project)):
            say(f"{project} is a new project.{hint}")
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
    tell(wrapped("Store both now: only a hash of the key is kept here, and the secret is not shown again.", indent=0))
    return 0


HEAD = ("ID", "PROJECT", "NAME", "STATE", "SCOPES", "LAST USE", "EXPIRES", "CREATED")


def _row(key: ApiKey, used: str) -> Cells:
    expires = "never" if key.expires_at is None else day_of(key.expires_at)
    scopes = "all" if tuple(key.scopes) == OF_A_PROJECT else " ".join(key.scopes)
    made = day_of(key.created_at)
    return key.id, key.project or "-", key.name, key.state(time.time()), scopes, used, expires, made


@app.default
@app.command(name="list")
async def list_keys(*, as_json: AsJson = False) -> int:
    """List keys; secrets are not kept and cannot be shown."""
    async with local_store.opened() as (store, _):
        found, used = await store.api_keys.all(), await store.api_keys.used()
    if not found:
        say("There is no key yet. `tunehook keys create --project NAME` makes one.")
    if as_json:
        members = {"id", "project", "name", "scopes", "created_at", "expires_at", "revoked_at"}
        rows = [key.model_dump(mode="json", include=members) | {"last_used_on": used.get(key.id)} for key in found]
        tell(json.dumps(rows, indent=2))
        return 0
    print_rows(HEAD, [_row(key, used.get(key.id, "never")) for key in found])
    return 0


@app.command
async def change(id_: Id, /, *, name: str | None = None, scopes: Scopes = None, expires: Day | None = None) -> int:
    """Change a key from its next request on.

    Args:
        name: shown in the list
    """
    if (name, scopes, expires) == (None, None, None):
        raise NoChange
    _check_name(name or "")
    async with local_store.opened() as (store, _):
        key = await api_keys.change(
            store,
            id_,
            name=name,
            scopes=None if scopes is None else _scopes(scopes),
            expires_at=_time(expires or "never"),
            forever=expires == "never",
        )
    ends = "does not expire" if key.expires_at is None else f"expires on {day_of(key.expires_at)}"
    if key.state(time.time()) == "revoked":
        ends = "is revoked, and stays so"
    tell(f"{key.id} ({key.name or 'no name'}): {' '.join(key.scopes)}; it {ends}.")
    return 0


@app.command
async def rotate(id_: Id, /, *, keep_old: bool = False) -> int:
    """Print a new secret for a key, once. Its id, scopes and callback secret stay.

    Args:
        keep_old: the old one works for 24 hours more
    """
    async with local_store.opened() as (store, _):
        text, _ = await api_keys.rotate(store, id_, keep_old=keep_old, now=int(time.time()))
    tell(f"API key:  {text}")
    tell(
        "Store it now. "
        + ("The old one works for 24 hours more." if keep_old else "The old one is refused from now on.")
    )
    return 0


@app.command
async def revoke(id_: Id, /) -> int:
    """Refuse a key from its next request on."""
    async with local_store.opened() as (store, _):
        key = await api_keys.revoke(store, id_)
    told = f"{key.id} is revoked. Webhooks of its jobs are still signed with its callback secret."
    tell(wrapped(told, indent=0))
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
        begins = int(datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC).timestamp())
    except ValueError:
        raise NotADay(text=day) from None
    if begins <= time.time():
        raise Past(text=day)
    return begins


def _check_name(name: str) -> None:
    if len(name) > NAME_CHARACTERS:
        raise NameTooLong(length=len(name))
