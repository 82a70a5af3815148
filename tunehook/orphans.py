"""Bytes on the shelf that no record names: a process was killed after it had written the one and before the other.

What is not known is removed only where "not known" can be believed: the data directory bears the mark of the store that
it belongs to, so a REDIS_URL that names another Redis, or one that came back empty, costs nobody a dataset.
"""

from __future__ import annotations

import logging

from tunehook.world import World

log = logging.getLogger(__name__)


async def sweep(world: World, older_than: float) -> int:
    """Removes what has lain there for `older_than` seconds; returns how many files and uploads that were.

    A record is written seconds after the last of its bytes, or before them.
    """
    ours = await world.store.forgetting.shelf_mark()
    mark, marked = await world.shelf.mark(ours)
    if mark == ours and marked <= older_than:
        return 0  # whoever has just joined the two by mistake has a day to see it
    forgetting = world.store.forgetting
    old_files, old_uploads = await world.shelf.old(older_than)
    files, uploads = await forgetting.unknown_files(old_files), await forgetting.unknown_uploads(old_uploads)
    if (files or uploads) and mark != ours:
        log.warning(
            "%d files and uploads in the data directory are unknown to this Redis, and left alone: they belong to "
            "another one. Is REDIS_URL right? If it is, remove %s",
            len(files) + len(uploads),
            world.shelf.mark_path,
        )
        return 0
    for file_id in files:
        await world.shelf.remove(file_id)
    for upload_id in uploads:
        await world.shelf.parts(upload_id).clear()
    return len(files) + len(uploads)
