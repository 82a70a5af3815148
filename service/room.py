"""What makes records is refused before its body is read, while Redis is nearly full. See tunehook/store/memory.py."""

from __future__ import annotations

from aiohttp import web

from service import datasets, files, jobs, uploads, webhook_endpoints
from service.problems import Handler
from service.reading import world_of

#: An upload that is complete takes less room than its parts; what cancels, deletes or sends again makes nothing new.
MAKE_RECORDS: frozenset[Handler] = frozenset(
    {
        files.create,
        datasets.create,
        uploads.create,
        uploads.add_part,
        jobs.create,
        jobs.import_,
        webhook_endpoints.create,
    }
)


@web.middleware
async def room_for_records(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.match_info.handler in MAKE_RECORDS:
        await world_of(request).store.memory.check()
    return await handler(request)
