"""`tunehook keys create|list|revoke`."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from cli import local_store
from tunehook import api_keys
from tunehook.security.encryption import Encryption
from tunehook.store.store import Store


def add_command(subparsers: Any) -> None:
    keys = subparsers.add_parser("keys", help="make, list and revoke API keys")
    what = keys.add_subparsers(dest="what", required=True, metavar="create|list|revoke")
    create = what.add_parser(
        "create",
        help="print a new key and its callback secret, once",
        epilog="Give each team a project of its own: tunehook keys create --project search --name laptop",
    )
    create.add_argument(
        "--project", default="default", help="the project whose files, jobs and models it may use (default: default)"
    )
    create.add_argument("--name", default="", help="shown in the list")
    create.set_defaults(run=lambda args: _with_store(lambda store, encryption: _create(store, encryption, args)))
    list_ = what.add_parser("list", help="list keys; secrets are not kept and cannot be shown")
    list_.add_argument("--json", action="store_true")
    list_.set_defaults(run=lambda args: _with_store(lambda store, encryption: _list(store, args)))
    revoke = what.add_parser("revoke", help="refuse a key from its next request on")
    revoke.add_argument("id", help="as the list shows it, or the whole key")
    revoke.set_defaults(run=lambda args: _with_store(lambda store, encryption: _revoke(store, args)))


def _with_store(work: Callable[[Store, Encryption], Awaitable[int]]) -> int:
    async def _run() -> int:
        url, encryption = local_store.find()
        async with Store.connect(url) as store:
            return await work(store, encryption)

    return asyncio.run(_run())


async def _create(store: Store, encryption: Encryption, args: argparse.Namespace) -> int:
    key, callback_secret = await api_keys.create(store, encryption, project=args.project, name=args.name)
    print(f"project:          {args.project}")
    print(f"API key:          {key}")
    print(f"callback secret:  {callback_secret}")
    print("Store both now: only a hash of the key is kept here, and the secret is not shown again.")
    return 0


async def _list(store: Store, args: argparse.Namespace) -> int:
    found = await store.api_keys.all()
    if args.json:
        members = {"id", "project", "name", "created_at", "revoked_at"}
        print(json.dumps([key.model_dump(include=members) for key in found], indent=2))
        return 0
    print(f"{'ID':<16}{'PROJECT':<20}{'NAME':<24}{'CREATED':<20}STATE")
    for key in found:
        created = datetime.fromtimestamp(key.created_at, UTC).strftime("%Y-%m-%d %H:%M")
        state = "revoked" if key.revoked_at else "active"
        print(f"{key.id:<16}{key.project:<20}{key.name or '-':<24}{created:<20}{state}")
    return 0


async def _revoke(store: Store, args: argparse.Namespace) -> int:
    key = await api_keys.revoke(store, args.id)
    print(f"{key.id} is revoked. Webhooks of its jobs are still signed with its callback secret.")
    return 0
