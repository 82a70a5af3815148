"""Finds and opens the store for a command: REDIS_URL, or the Valkey of `tunehook up` on this data directory."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from pydantic import SecretStr

from tunehook import settings
from tunehook.errors import TunehookError
from tunehook.security.encryption import Encryption
from tunehook.store.store import Store


class NoStore(TunehookError):
    """No store was found. Set REDIS_URL, or run `tunehook up` on the data directory {directory}."""


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[Store, Encryption]]:
    """Opens the store. Raises NoStore."""
    url, encryption = find()
    async with Store.connect(url, replicas=settings.load().replicas) as store:
        yield store, encryption


def find() -> tuple[str, Encryption]:
    """Returns the URL of the store, and the encryption of its secrets. Raises NoStore."""
    found = settings.load()
    return found.redis_url or _embedded(found.data_dir.absolute()), encryption()


def encryption() -> Encryption:
    """Returns the encryption by TUNEHOOK_SECRET_KEY, or by the key that `tunehook up` keeps."""
    found = settings.load()
    return Encryption(found.secret_key or _kept_key(found.data_dir))


def _embedded(data_dir: Path) -> str:
    try:
        socket = json.loads((data_dir / "valkey" / "server.lock").read_text())["socket"]
    except (OSError, ValueError, KeyError):
        raise NoStore(directory=data_dir) from None
    if not Path(socket).exists():
        raise NoStore(directory=data_dir)
    return f"unix://{socket}?db=0"


def _kept_key(data_dir: Path) -> SecretStr | None:
    try:
        return SecretStr(json.loads((data_dir / "local.json").read_text())["secret_key"])
    except (OSError, ValueError, KeyError):
        return None
