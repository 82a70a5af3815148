"""Waiting for a state of another process, on a machine that may stand still for half a minute.

    job = await eventually(lambda: client.fine_tuning.jobs.retrieve(id), lambda job: job.status == "succeeded")

A read that gets no answer, a reset connection or a 503 (Redis' disk took longer than a second) is repeated.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import aiohttp
import openai

T = TypeVar("T")
#: Seconds. A test may take 240 in all.
PATIENCE = 180.0


def is_stall(error: Exception) -> bool:
    """Returns whether a read may be repeated after this error."""
    if isinstance(error, openai.APIStatusError):
        return error.status_code == 503
    return isinstance(error, openai.APIConnectionError | aiohttp.ClientConnectionError | TimeoutError)


async def eventually(
    read: Callable[[], Awaitable[T]],
    reached: Callable[[T], bool],
    *,
    seconds: float = PATIENCE,
    every: float = 0.3,
) -> T:
    """What `read` gives as soon as it is what is waited for. TimeoutError, with the last one, if that does not come.

    `every`: seconds between two reads. A read whose answer is held against the contract costs 10 ms of CPU.
    """
    until = time.monotonic() + seconds
    last: T | Exception
    while True:
        try:
            last = found = await read()
            if reached(found):
                return found
        except Exception as error:
            if not is_stall(error):
                raise
            last = error
        if time.monotonic() > until:
            raise TimeoutError(f"not within {seconds} s: {last}")
        await asyncio.sleep(every)
