"""`python -m worker`: workers and clock. `--healthcheck` ends with 0 if the clock on this host has ticked lately."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys

from tunehook import settings
from tunehook.errors import StoreUnavailable, TunehookError


def main() -> int:
    try:
        found = settings.load()
        settings.require(found, "redis_url", "secret_key")
    except TunehookError as error:
        print(f"tunehook worker: {error.message}", file=sys.stderr)  # noqa: T201
        return 2
    if "--healthcheck" in sys.argv[1:]:
        return asyncio.run(_healthcheck(found))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    try:
        asyncio.run(_first_contact(found))
    except TunehookError as error:
        print(f"tunehook worker: {error.message}", file=sys.stderr)  # noqa: T201
        return 2
    from worker.supervisor import Supervisor  # noqa: PLC0415  (a health check needs no RQ and no openai: 0.6 s)

    return Supervisor(found).run()


async def _first_contact(found: settings.Settings) -> None:
    """Raises StoreMisconfigured for a Redis that may lose what it took, SecretUnreadable for one with another's key.

    One that is away is waited for later.
    """
    from tunehook import access  # noqa: PLC0415
    from tunehook.store import Store, durability  # noqa: PLC0415
    from tunehook.vault import Vault  # noqa: PLC0415

    store = Store.connect(found.redis_url)
    try:
        await durability.check(store, strict=found.durability == "strict")
        await access.check_secret_key(store, Vault(found.secret_key))
    except StoreUnavailable:
        return
    finally:
        await store.close()


async def _healthcheck(found: settings.Settings) -> int:
    from tunehook.store import Store  # noqa: PLC0415

    store = Store.connect(found.redis_url)
    try:
        good = await store.ticks(socket.gethostname())
    except TunehookError as error:
        print(error.message, file=sys.stderr)  # noqa: T201
        return 1
    finally:
        await store.close()
    if not good:
        print("the clock of this worker has not ticked for 10 s", file=sys.stderr)  # noqa: T201
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
