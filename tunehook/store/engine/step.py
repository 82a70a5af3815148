"""Step runner: takes the lease of a due member, does the work, and turns each refusal into what happens next.

| raised in the body          | what follows                                                                         |
|-----------------------------|--------------------------------------------------------------------------------------|
| LeaseTaken, LeaseLost       | nothing: another step works on it, or the member is due again when the lease ends    |
| RevisionChanged, IllegalMove| due now: the record is read again                                                    |
| JobNotFound                 | never due again                                                                      |
| RecordTooNew                | due in five seconds, for a newer worker; the claim is not counted                    |
| DataDirUnavailable,         | due in 15 seconds; the claim is not counted, since a disk in trouble is no verdict   |
| DatasetUnread               | on a record                                                                          |
| RecordUnreadable            | parked: a person has to decide (`tunehook doctor`)                                   |

Any other error ends the step. The member was given its next time when it was claimed, so it is due again then.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from tunehook.errors import (
    DataDirUnavailable,
    DatasetUnread,
    IllegalMove,
    JobNotFound,
    LeaseLost,
    LeaseTaken,
    RecordTooNew,
    RecordUnreadable,
    RevisionChanged,
)
from tunehook.store.engine.due_queue import DueQueue
from tunehook.store.engine.lease import Lease

log = logging.getLogger(__name__)

#: A record of a newer version is soon claimed by a newer worker.
NEWER_SECONDS = 5.0
DISK_SECONDS = 15.0


async def run_recurring_step(queue: DueQueue, member: str, body: Callable[[Lease], Awaitable[None]]) -> None:
    """Runs one step of a member that is due for ever (a poll, a sweep); its body plans the next."""
    with suppress(LeaseTaken, LeaseLost):
        async with queue.lease(member) as lease:
            await body(lease)


async def run_step(queue: DueQueue, member: str, body: Callable[[Lease], Awaitable[None]]) -> None:
    """Runs one step of a member that stands for a record, by the table above."""
    try:
        await run_recurring_step(queue, member, body)
    except (RevisionChanged, IllegalMove):
        await queue.wake(member)
    except JobNotFound:
        await queue.unplan(member)
    except RecordTooNew as error:
        log.info("%s is left to a newer worker: %s", member, error.message)
        await queue.forgive(member)
        await queue.plan(member, NEWER_SECONDS)
    except (DataDirUnavailable, DatasetUnread) as error:
        log.warning("%s waits: %s", member, error.detail)
        await queue.plan(member, DISK_SECONDS)
    except RecordUnreadable as error:
        log.error("%s is parked: %s", member, error.message)
        await queue.park(member)
