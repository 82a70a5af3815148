"""`tunehook keys create|list|revoke`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from cyclopts import App

from cli import local_store
from cli.options import AsJson
from tunehook import api_keys
from tunehook.security.encryption import Encryption
from tunehook.store.store import Store

app = App(
    name="keys",
    help="Make, list and revoke API keys.",
    help_epilogue="Give each team a project of its own:\n\n    tunehook keys create --project search --name laptop",
)


@asynccontextmanager
async def _opened() -> AsyncIterator[tuple[Store, Encryption]]:
    url, encryption = local_store.find()
    async with Store.connect(url) as store:
        yield store, encryption


@app.command
async def create(*, project: str = "default", name: str = "") -> int:
    """Print a new key and its callback secret, once.

    Args:
        project: the project whose files, jobs and models it may use (default: default)
        name: shown in the list
    """
    async with _opened() as (store, encryption):
        key, callback_secret = await api_keys.create(store, encryption, project=project, name=name)
    print(f"project:          {project}")
    print(f"API key:          {key}")
    print(f"callback secret:  {callback_secret}")
    print("Store both now: only a hash of the key is kept here, and the secret is not shown again.")
    return 0


@app.command(name="list")
async def list_keys(*, as_json: AsJson = False) -> int:
    """List keys; secrets are not kept and cannot be shown."""
    async with _opened() as (store, _):
        found = await store.api_keys.all()
    if as_json:
        members = {"id", "project", "name", "created_at", "revoked_at"}
        print(json.dumps([key.model_dump(include=members) for key in found], indent=2))
        return 0
    print(f"{'ID':<16}{'PROJECT':<20}{'NAME':<24}{'CREATED':<20}STATE")
    for key in found:
        created = datetime.fromtimestamp(key.created_at, UTC).strftime("%Y-%m-%d %H:%M")
        state = "revoked" if key.revoked_at else "active"
        print(f"{key.id:<16}{key.project:<20}{key.name or '-':<24}{created:<20}{state}")
    return 0


@app.command
async def revoke(id_: str, /) -> int:
    """Refuse a key from its next request on.

    Args:
        id_: as the list shows it, or the whole key
    """
    async with _opened() as (store, _):
        key = await api_keys.revoke(store, id_)
    print(f"{key.id} is revoked. Webhooks of its jobs are still signed with its callback secret.")
    return 0
