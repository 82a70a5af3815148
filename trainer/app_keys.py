"""What the application holds for its handlers, and the way to the store."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import aiohttp
from aiohttp import web

from trainer.serving import Serving
from trainer.store import Store

STORE = web.AppKey("store", Store)
#: Set when something may be due: a sweep looks at once.
WAKE = web.AppKey("wake", asyncio.Event)
SERVING = web.AppKey("serving", Serving)
#: The HTTP client of the chat.
SESSION = web.AppKey("session", aiohttp.ClientSession)
PROJECT = web.RequestKey("project", str)

Found = TypeVar("Found")


async def run(request: web.Request, reading: Callable[[Store], Found]) -> Found:
    """Calls a method of the store on a thread: each of them blocks on the disk."""
    return await asyncio.to_thread(reading, request.app[STORE])
