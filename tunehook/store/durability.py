"""Does this Redis keep what it acknowledges? Checked when a program starts.

`appendfsync everysec` loses the last 0.6 to 0.9 s of acknowledged writes in a power cut, `always` nothing;
an evicting memory policy loses whatever it likes.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from redis.exceptions import ResponseError

from tunehook.errors import StoreMisconfigured
from tunehook.store.connection import unavailable

if TYPE_CHECKING:
    from tunehook.store.store import Store

log = logging.getLogger(__name__)

NEEDED = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}


async def shortcomings(store: Store) -> list[str]:
    """What would have to be set. A managed Redis may forbid to ask: then that is said."""
    try:
        with unavailable():
            found = await store.redis.config_get(*NEEDED)
    except ResponseError as error:
        return [f"CONFIG GET is not allowed ({error}), so nobody knows what it loses"]
    return [
        f"set {name} {value} (it is {found.get(name)})" for name, value in NEEDED.items() if found.get(name) != value
    ]


async def check(store: Store, *, strict: bool) -> None:
    """Raises StoreMisconfigured, in one line that says what to set; only warns when that is allowed."""
    faults = await shortcomings(store)
    if not faults:
        return
    words = "; ".join(faults)
    if strict:
        raise StoreMisconfigured(
            why=f"This Redis could lose jobs that were accepted: {words}. TUNEHOOK_DURABILITY=relaxed starts anyway."
        )
    log.warning("this Redis could lose jobs that were accepted: %s", words)
