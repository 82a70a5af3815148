"""One delivery step in a process of its own, for the test that kills it: `… -m tests.webhooks.deliver_once URL KEY`."""

import asyncio
import sys
from pathlib import Path

from pydantic import SecretStr

from tunehook import delivery
from tunehook.allow_list import AllowList
from tunehook.shelf import Shelf
from tunehook.store import Store
from tunehook.vault import Vault
from tunehook.world import World


async def main(redis_url: str, key: str) -> None:
    store = Store.connect(redis_url)
    world = World(store, Shelf(Path("/nonexistent")), Vault(SecretStr(key)), {}, AllowList.parse("127.0.0.1"))
    await delivery.deliver(world)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
