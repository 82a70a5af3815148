"""`python -m benchmarks.replicas`: what it costs that one replica confirms a commit, on loopback."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fakes.sentinel import Replicated, replicated
from tunehook.store.engine.commit import Change
from tunehook.store.store import Store

COMMITS = 500
#: Writers at once in the second pair.
AT_ONCE = 16


async def _commits(store: Store, name: str, count: int) -> list[float]:
    """Returns the milliseconds that each took, one after the other."""
    took: list[float] = []
    for number in range(count):
        change = Change(record=f"th:bench:{name}:{number}", revision=0, document="{}")
        begun = time.perf_counter()
        await store.commit(change)
        took.append(1000 * (time.perf_counter() - begun))
    return took


async def _pairs(servers: Replicated) -> None:
    alone, confirmed = Store.connect(servers.url), Store.connect(servers.url, replicas=1)
    async with alone, confirmed:
        both: dict[int, list[float]] = {0: [], 1: []}
        for number in range(COMMITS // 10):  # by turns, so that both see the same machine
            for replicas, store in enumerate((alone, confirmed)):
                both[replicas] += await _commits(store, f"{replicas}-{number}", 10)
        for replicas, took in both.items():
            took.sort()
            quarter, half, late = took[len(took) // 4], statistics.median(took), took[int(len(took) * 0.99)]
            _say(f"TUNEHOOK_REPLICAS={replicas}: 25 % {quarter:.2f} ms, median {half:.2f} ms, 99 % {late:.1f} ms")
        for replicas, store in enumerate((alone, confirmed)):
            begun = time.perf_counter()
            each = COMMITS // AT_ONCE
            await asyncio.gather(*(_commits(store, f"{replicas}-many-{one}", each) for one in range(AT_ONCE)))
            rate = each * AT_ONCE / (time.perf_counter() - begun)
            _say(f"TUNEHOOK_REPLICAS={replicas}, {AT_ONCE} at once: {rate:.0f}/s")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def main() -> None:
    with TemporaryDirectory(prefix="tunehook-bench-") as directory, replicated(Path(directory)) as servers:
        asyncio.run(_pairs(servers))


if __name__ == "__main__":
    main()
