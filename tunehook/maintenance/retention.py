"""Retention: removes expired files, finished jobs, and datasets and copies without a live job.

    uploads in parts     when their hour is over
    pull endpoints       when they were not read for seven days
    files                at their `expires_at`
    finished jobs        `keep_jobs` after their end, with their events and result files; their models stay known
    ended deployments    `keep_jobs` after their end
    datasets here        `keep_datasets` after the last job that needed them ended (or after they came), but not
                         while a model that was trained on them still answers
    copies at upstreams  `keep_copies` after the last job that needed them ended
    bytes without record an hour after they came; half of a file, a day after it came

The commit that deletes a record checks that no live job needs it. It also notes what has to be deleted from the disk or
at an upstream; the note is struck off when that is done.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from tunehook.context import Context
from tunehook.errors import (
    DataDirUnavailable,
    JobNotFound,
    LeaseTaken,
    RecordTooNew,
    RecordUnreadable,
    StoreUnavailable,
    UpstreamError,
    UpstreamRefused,
)
from tunehook.files import uploads
from tunehook.maintenance import model_retirement
from tunehook.model.job import Stage
from tunehook.model.member import RETENTION, upload_member
from tunehook.store.deletion import Ageing
from tunehook.store.engine.lease import Lease
from tunehook.store.engine.step import run_recurring_step
from tunehook.webhooks import pull

log = logging.getLogger(__name__)

EVERY_SECONDS = 300.0
#: One step removes at most so many of each, and is repeated at once if there are more.
AT_ONCE = 200
#: A record that is still needed when its time comes is looked at again after this.
LATER_SECONDS = 3600.0
#: A record that cannot be read is left; the log says so once in this time.
LOGGED_SECONDS = 30 * 24 * 3600


async def sweep(ctx: Context) -> None:
    """Runs one step and plans the next."""

    async def _body(lease: Lease) -> None:
        removed: dict[str, int] = {}
        for name, step in _STEPS.items():
            lease.check()
            try:
                removed[name] = await step(ctx)
            except StoreUnavailable:
                raise
            except DataDirUnavailable as error:  # a disk that refuses holds up nothing that lies elsewhere
                log.warning("%s are not removed now: %s", name, error.detail)
            except Exception:  # nor does a mistake in one part, or a broken record
                log.exception("%s are not removed now", name)
        more = any(count >= AT_ONCE for count in removed.values())
        await ctx.store.plan(RETENTION, 0.0 if more else EVERY_SECONDS)
        if any(removed.values()):
            log.info("removed: %s", ", ".join(f"{count} {name}" for name, count in removed.items() if count))

    await run_recurring_step(ctx.store, RETENTION, _body)


async def _uploads(ctx: Context) -> int:
    cleared = 0
    for upload_id in await ctx.store.deletion.older(Ageing.UPLOADS, 0, AT_ONCE):
        with suppress(LeaseTaken):  # being completed: 8 GB are joined for minutes
            async with ctx.store.lease(upload_member(upload_id)):
                await uploads.clear(ctx.files, upload_id)
                cleared += 1
    return cleared


async def _aged(
    ctx: Context, index: Ageing, seconds: float | None, remove: Callable[[Context, str], Awaitable[bool]]
) -> int:
    """Removes what was not needed for `seconds` (None: nothing). `remove` returns False for what stays."""
    removed, deletion = 0, ctx.store.deletion
    for member in [] if seconds is None else await deletion.older(index, seconds, AT_ONCE):
        try:
            gone = await remove(ctx, member)
        except (RecordTooNew, RecordUnreadable) as error:  # one bad record holds up no other
            gone = False
            change = await ctx.store.announcements.once(f"left:{member}", error.message, keep=LOGGED_SECONDS)
            if change is not None:
                await ctx.store.commit(change)
                log.warning("%s is not removed: %s", member, error.message)
        if gone:
            removed += 1
        else:
            await deletion.postpone(index, member, LATER_SECONDS - (seconds or 0.0))
    return removed


async def _file(index: Ageing, ctx: Context, file_id: str) -> bool:
    record = await ctx.store.files.read_any(file_id)
    # A file with an expiry is kept until then, whatever needed it last.
    if record is None or (index is Ageing.DATASETS and record.file.expires_at is not None):
        await ctx.store.deletion.drop(index, file_id)
        return False
    return await ctx.store.deletion.delete_file(record.file)


async def _datasets(ctx: Context) -> int:
    keep = ctx.keep.datasets
    old = [] if keep is None else await ctx.store.deletion.older(Ageing.DATASETS, keep, AT_ONCE)
    if not old:
        return 0
    used = await model_retirement.datasets_in_use(ctx, old)

    async def _unused(ctx: Context, file_id: str) -> bool:
        return file_id not in used and await _file(Ageing.DATASETS, ctx, file_id)

    return await _aged(ctx, Ageing.DATASETS, ctx.keep.datasets, _unused)


async def _job(ctx: Context, job_id: str) -> bool:
    deletion = ctx.store.deletion
    try:
        record = await ctx.store.jobs.read(job_id)
    except JobNotFound:
        await deletion.drop(Ageing.JOBS, job_id)
        return False
    if record.job.stage is not Stage.SETTLED or await deletion.is_busy(record):
        return False
    for file_id in record.job.result_files.values():
        result = await ctx.store.files.read_any(file_id)
        if result is not None:
            await deletion.delete_file(result.file)
    return await deletion.delete_job(record)


async def _deployment(ctx: Context, job_id: str) -> bool:
    return await ctx.store.deployments.delete(job_id)


async def _copy(ctx: Context, name: str) -> bool:
    upstream, _, sha256 = name.rpartition(":")
    return await ctx.store.deletion.delete_copy(upstream, sha256)


async def remove_bytes(ctx: Context) -> int:
    """Removes bytes of deleted files and of killed processes, if the directory is this store's."""
    storage, deletion = ctx.files.storage, ctx.store.deletion
    storage.forget_mark()
    leaving = await deletion.older(Ageing.LEAVING, 0, AT_ONCE)
    gone = await deletion.without_record(leaving)
    await ctx.store.confirm()  # a deletion that is lost with this Redis would leave a record without its bytes
    for file_id in leaving:
        if file_id in gone:
            await storage.remove(file_id)
        await ctx.store.files.left(file_id)
    return len(leaving) + await storage.sweep(ctx.keep.half_received)


async def _from_the_upstreams(ctx: Context) -> int:
    """Deletes copies at upstreams. One that does not answer is asked again at the next sweep."""
    removed = 0
    for upstream_name, file_id in await ctx.store.deletion.leaving_copies(AT_ONCE):
        upstream = ctx.upstreams.get(upstream_name)
        if upstream is None or file_id not in await ctx.store.deletion.leaving_at(upstream_name):
            continue  # removed from the settings, or needed again since the list was read
        await ctx.store.confirm()
        try:
            await upstream.delete_file(file_id)
        except UpstreamRefused as refused:
            log.info("upstream %s has no %s to delete: %s", upstream_name, file_id, refused.message)
        except UpstreamError as error:
            log.warning("deleting %s at %s failed: %s", file_id, upstream_name, error.message)
            continue
        await ctx.store.deletion.left_copy(upstream_name, file_id)
        removed += 1
    return removed


_STEPS: dict[str, Callable[[Context], Awaitable[int]]] = {
    "uploads": _uploads,
    "pull endpoints": lambda ctx: pull.delete_idle(ctx.webhooks),
    "expired files": lambda ctx: _aged(ctx, Ageing.EXPIRING, 0.0, partial(_file, Ageing.EXPIRING)),
    "jobs": lambda ctx: _aged(ctx, Ageing.JOBS, ctx.keep.jobs, _job),
    "deployments": lambda ctx: _aged(ctx, Ageing.DEPLOYMENTS, ctx.keep.jobs, _deployment),
    "datasets": _datasets,
    "copies": lambda ctx: _aged(ctx, Ageing.COPIES, ctx.keep.copies, _copy),
    "files from the disk": remove_bytes,
    "files from upstreams": _from_the_upstreams,
}
