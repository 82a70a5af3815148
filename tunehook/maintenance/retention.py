"""What is removed, and when: files with an hour to live, jobs that ended long ago, datasets and their copies at the
upstreams that nobody trains on any more.

    uploads in parts     when their hour is over
    files                at their `expires_at`
    finished jobs        `keep_jobs` after their end, with their events and result files; their models stay known
    datasets here        `keep_datasets` after the last job that needed them ended (or after they came)
    copies at upstreams  `keep_copies` after the last job that needed them ended
    bytes without record an hour after they came; half of a file, a day after it came

Whether something is needed is asked in the same script that removes it, so nothing live is ever touched. What has to
go from a disk or from an upstream is noted in that script too, and taken off the note when it is gone there.
"""

from __future__ import annotations

import logging
from contextlib import suppress

from tunehook.context import Context
from tunehook.errors import (
    JobNotFound,
    LeaseTaken,
    RecordTooNew,
    RecordUnreadable,
    StoreUnavailable,
    TunehookError,
    UpstreamError,
    UpstreamRefused,
)
from tunehook.files import uploads
from tunehook.model.job import Stage
from tunehook.model.member import RETENTION, upload_member
from tunehook.store.deletion import Ageing
from tunehook.store.engine.lease import Lease
from tunehook.store.engine.step import run_recurring_step

log = logging.getLogger(__name__)

EVERY_SECONDS = 300.0
#: One step removes so many of each at most, and comes again at once if there are more.
AT_ONCE = 200
#: What is needed when its time comes is asked about again after this.
LATER_SECONDS = 3600.0
#: What cannot be read is left, and this long nothing more is said of it.
SAID_SECONDS = 30 * 24 * 3600


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
            except OSError as error:  # a disk that refuses holds up nothing that lies elsewhere
                log.error("%s are not removed now: %s", name, error)
            except Exception:  # nor does a mistake in one part, or a broken record
                log.exception("%s are not removed now", name)
        more = any(count >= AT_ONCE for count in removed.values())
        await ctx.store.plan(RETENTION, 0.0 if more else EVERY_SECONDS)
        if any(removed.values()):
            log.info("removed: %s", ", ".join(f"{count} {name}" for name, count in removed.items() if count))

    await run_recurring_step(ctx.store, RETENTION, _body)


async def _uploads(ctx: Context) -> int:
    cleared = 0
    for upload_id in await ctx.store.uploads.expired(AT_ONCE):
        with suppress(LeaseTaken):  # being completed: 8 GB are joined for minutes
            async with ctx.store.lease(upload_member(upload_id)):
                await uploads.clear(ctx.files, upload_id)
                cleared += 1
    return cleared


async def _expired(ctx: Context) -> int:
    return await _files(ctx, Ageing.EXPIRING, 0.0)


async def _datasets(ctx: Context) -> int:
    return 0 if ctx.keep.datasets is None else await _files(ctx, Ageing.DATASETS, ctx.keep.datasets)


async def _files(ctx: Context, index: Ageing, seconds: float) -> int:
    forgetting, removed = ctx.store.deletion, 0
    for file_id in await forgetting.older(index, seconds, AT_ONCE):
        try:
            file = await forgetting.file(file_id)
        except (RecordTooNew, RecordUnreadable) as error:
            await _left(ctx, index, file_id, seconds, error)
            continue
        promised = index == Ageing.DATASETS and file is not None and file.expires_at is not None
        if file is None or promised:  # one that has a time of its own is kept until then
            await forgetting.drop(index, file_id)
        elif await forgetting.delete_file(file):
            removed += 1
        else:
            await forgetting.postpone(index, file_id, LATER_SECONDS - seconds)
    return removed


async def _jobs(ctx: Context) -> int:
    if ctx.keep.jobs is None:
        return 0
    removed = 0
    for job_id in await ctx.store.deletion.older(Ageing.JOBS, ctx.keep.jobs, AT_ONCE):
        try:
            removed += await _job(ctx, job_id, ctx.keep.jobs)
        except (RecordTooNew, RecordUnreadable) as error:  # a newer version's, which may keep it longer; or a doctor's
            await _left(ctx, Ageing.JOBS, job_id, ctx.keep.jobs, error)
    return removed


async def _job(ctx: Context, job_id: str, seconds: float) -> bool:
    forgetting = ctx.store.deletion
    try:
        record = await ctx.store.jobs.read(job_id)
    except JobNotFound:
        await forgetting.drop(Ageing.JOBS, job_id)
        return False
    if record.job.stage is not Stage.SETTLED or await forgetting.is_busy(record):
        await forgetting.postpone(Ageing.JOBS, job_id, LATER_SECONDS - seconds)
        return False
    for file_id in record.job.result_files.values():
        file = await forgetting.file(file_id)
        if file is not None:
            await forgetting.delete_file(file)
    return await forgetting.delete_job(record)


async def _left(ctx: Context, index: Ageing, member: str, seconds: float, error: TunehookError) -> None:
    """One that cannot be read disturbs no other: it is asked about again later. It is said once."""
    saying = await ctx.store.announcements.once(f"left:{member}", error.message, keep=SAID_SECONDS)
    if saying is not None:
        await ctx.store.commit(saying)
        log.warning("%s is left: %s", member, error.message)
    await ctx.store.deletion.postpone(index, member, LATER_SECONDS - seconds)


async def _copies(ctx: Context) -> int:
    if ctx.keep.copies is None:
        return 0
    forgetting, removed = ctx.store.deletion, 0
    for name in await forgetting.older(Ageing.COPIES, ctx.keep.copies, AT_ONCE):
        upstream, _, sha256 = name.rpartition(":")
        try:
            gone = await forgetting.delete_copy(upstream, sha256)
        except (RecordTooNew, RecordUnreadable) as error:
            await _left(ctx, Ageing.COPIES, name, ctx.keep.copies, error)
            continue
        if gone:
            removed += 1
        else:
            await forgetting.postpone(Ageing.COPIES, name, LATER_SECONDS - ctx.keep.copies)
    return removed


async def _from_the_storage(ctx: Context) -> int:
    """Removes bytes of deleted files, and what killed processes left; nothing in another store's directory."""
    storage, deletion = ctx.files.storage, ctx.store.deletion
    ours = await deletion.storage_mark()
    if await storage.mark(ours) != ours:
        log.warning(
            "nothing is removed from the data directory: it belongs to another Redis. Is REDIS_URL right? If it is, "
            "remove %s",
            storage.mark_path,
        )
        return 0
    leaving = await deletion.leaving(AT_ONCE)
    gone = await deletion.without_record(leaving)
    for file_id in leaving:
        if file_id in gone:
            await storage.remove(file_id)
        await ctx.store.files.left(file_id)
    return len(leaving) + await storage.sweep(ctx.keep.half_received)


async def _from_the_upstreams(ctx: Context) -> int:
    """One that does not answer now is asked at the next sweep; one that is in the settings no more, never."""
    removed = 0
    for upstream_name, file_id in await ctx.store.deletion.leaving_copies(AT_ONCE):
        upstream = ctx.upstreams.get(upstream_name)
        if upstream is None or file_id not in await ctx.store.deletion.leaving_at(upstream_name):
            continue  # the others took a while: it may be needed again
        try:
            await upstream.delete_file(file_id)
        except UpstreamRefused as refused:
            log.info("upstream %s has no %s to delete: %s", upstream_name, file_id, refused.message)
        except UpstreamError as error:
            log.warning("deleting %s at %s: %s", file_id, upstream_name, error.message)
            continue
        await ctx.store.deletion.left_copy(upstream_name, file_id)
        removed += 1
    return removed


_STEPS = {
    "uploads": _uploads,
    "expired files": _expired,
    "jobs": _jobs,
    "datasets": _datasets,
    "copies": _copies,
    "files from the disk": _from_the_storage,
    "files from upstreams": _from_the_upstreams,
}
