"""Bytes on the shelf that no record names: a process was killed after it had written the one and before the other.

What is not known is removed only where "not known" can be believed. The data directory bears the mark of the store that
it belongs to, so a REDIS_URL that names another Redis, or one that came back empty, costs nobody a dataset. And that
store has to miss them for a day: one that was restored from an older copy bears the right mark, and knows nothing of
what came after that copy.
"""

from __future__ import annotations

import logging

from tunehook.context import Context

log = logging.getLogger(__name__)


async def sweep(ctx: Context, older_than: float) -> int:
    """Removes what has lain there for `older_than` seconds and was unknown to this very store for as long since.

    Returns how many files and uploads that were. A record is written seconds after the last of its bytes, or before.
    """
    forgetting = ctx.store.deletion
    ours = await forgetting.shelf_mark()
    mark = await ctx.files.storage.mark(ours)
    old_files, old_uploads = await ctx.files.storage.old(older_than)
    files, uploads = await forgetting.unknown_files(old_files), await forgetting.unknown_uploads(old_uploads)
    if (files or uploads) and mark != ours:
        log.warning(
            "%d files and uploads in the data directory are unknown to this Redis, and left alone: they belong to "
            "another one. Is REDIS_URL right? If it is, remove %s",
            len(files) + len(uploads),
            ctx.files.storage.mark_path,
        )
        return 0
    new, missed = await forgetting.note_unknown(files | uploads, older_than)
    if new:
        log.warning(
            "%d files and uploads in the data directory are unknown to this Redis, and go in %.0f hours. If it was "
            "restored from an older copy than the data directory, stop the workers and restore the right one",
            len(new),
            older_than / 3600,
        )
    for file_id in files & missed:
        await ctx.files.storage.remove(file_id)
    for upload_id in uploads & missed:
        await ctx.files.storage.parts(upload_id).clear()
    return len(missed)
