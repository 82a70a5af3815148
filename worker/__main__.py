"""`python -m worker`: runs scheduler and workers. `--healthcheck`: 0 if the scheduler here is alive."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from contextlib import suppress

from tunehook import logs, settings
from tunehook.errors import StoreRefused, StoreUnavailable, TunehookError

#: Seconds between two attempts to reach Redis at the start.
AGAIN_SECONDS = 0.5


def main() -> int:
    try:
        found = settings.load()
        settings.require(found, "redis_url", "secret_key")
    except TunehookError as error:
        print(f"tunehook worker: {error.message}", file=sys.stderr)  # noqa: T201
        return 2
    if "--healthcheck" in sys.argv[1:]:
        return asyncio.run(_healthcheck(found))
    logs.configure(found.log)
    try:
        if not asyncio.run(_first_contact(found)):
            return 0
        from worker.supervisor import Supervisor  # noqa: PLC0415  (a health check needs no RQ and no openai: 0.6 s)

        return Supervisor(found).run()
    except TunehookError as error:  # also of a package that is not installed
        print(f"tunehook worker: {error.message}", file=sys.stderr)  # noqa: T201
        return 2


async def _first_contact(found: settings.Settings) -> bool:
    """Waits for Redis and checks it. Returns False if we were told to end before it answered.

    Raises StoreMisconfigured for a Redis that may lose writes, StoreRefused for a wrong password or a read-only
    replica, SecretUnreadable for data of another secret key.
    """
    from tunehook import api_keys  # noqa: PLC0415
    from tunehook.security.encryption import Encryption  # noqa: PLC0415
    from tunehook.store import upgrade  # noqa: PLC0415
    from tunehook.store.store import Store  # noqa: PLC0415

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Store.connect(found.redis_url, replicas=found.replicas) as store:
        while not stop.is_set():
            try:
                await store.redis_health.check_durability(strict=found.durability == "strict")
                await store.redis_health.check_replicas()
                await upgrade.leaving_to_zset(store)
                await api_keys.check_secret_key(store, Encryption(found.secret_key))
            except StoreRefused:
                raise
            except StoreUnavailable as error:
                logging.getLogger("tunehook.worker").warning("%s Retrying.", error.at_start)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), AGAIN_SECONDS)
            else:
                return True
    return False


async def _healthcheck(found: settings.Settings) -> int:
    from tunehook.store.store import Store  # noqa: PLC0415

    try:
        async with Store.connect(found.redis_url) as store:
            good = await store.ticks(socket.gethostname())
    except TunehookError as error:
        print(error.message, file=sys.stderr)  # noqa: T201
        return 1
    if not good:
        print("the scheduler of this worker has not run for 10 s", file=sys.stderr)  # noqa: T201
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
