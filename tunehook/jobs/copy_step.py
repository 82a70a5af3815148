"""Copies: a dataset's bytes are sent to an upstream once, for all jobs that train on them.

Up to 100 MB go in one request; more by the Uploads API in parts of 8 MiB. The ids of accepted parts are saved, so that
no part is sent twice, and the next step goes on after 40 s (copy_transfer.py). An upstream without that API gets one
long request.
"""

from __future__ import annotations

import logging

from tunehook import telemetry
from tunehook.context import Context
from tunehook.errors import (
    DataDirUnavailable,
    JobNotFound,
    RecordTooNew,
    RecordUnreadable,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)
from tunehook.jobs.copy_transfer import Transfer
from tunehook.jobs.uploading import upstream_name
from tunehook.jobs.upstream_hold import hold
from tunehook.model.job import JobError
from tunehook.model.member import copy_member, job_member
from tunehook.store.copies import CopyRecord
from tunehook.store.engine.lease import Lease
from tunehook.store.engine.step import run_step

log = logging.getLogger(__name__)

#: Files above ~150 MB fail silently through `files.create`, according to users.
WHOLE_BYTES = 100_000_000
#: Jobs whose traces an upload is linked to: OpenTelemetry keeps 128 links of a span.
LINKED_JOBS = 100


async def copy_to_upstream(ctx: Context, upstream_name: str, sha256: str) -> None:
    """Runs one step: sends the bytes that are missing at the upstream, for at most 40 s of parts."""
    member = copy_member(upstream_name, sha256)

    async def _copy(lease: Lease) -> None:
        record = await ctx.store.copies.read(upstream_name, sha256)
        if record is None or record.copy.state != "wanted":
            await ctx.store.unplan(member)
        else:
            await _send(ctx, record, lease)

    await run_step(ctx.store, member, _copy)


async def _send(ctx: Context, record: CopyRecord, lease: Lease) -> None:
    copy = record.copy
    waiters = await ctx.store.copies.waiters(copy.upstream, copy.sha256)
    held = await ctx.store.upstreams.held(copy.upstream)
    if copy.upstream not in ctx.upstreams or held:
        await _later(ctx, record, lease, waiters, pause=15.0)
        return
    if not waiters:
        # All were cancelled; the next job that wants the copy plans it again.
        await ctx.store.copies.rest(copy.upstream, copy.sha256)
        return
    transfer = Transfer(ctx, record, lease, waiters)
    await ctx.store.confirm()
    try:
        lease.check()
        jobs = await _traces(ctx, waiters)
        first = not (copy.attempts or copy.failures or copy.upload_id)
        with telemetry.span("upload", jobs[0], first=first, kind="client", links=jobs[1:]):
            telemetry.describe(upstream=copy.upstream, bytes=copy.bytes, **{"file.id": copy.file_id})
            blob = await ctx.files.storage.open(copy.file_id)
            done = await (transfer.whole(blob) if copy.bytes <= WHOLE_BYTES else transfer.in_parts(blob))
    except FileNotFoundError:
        await _without_bytes(ctx, transfer)
    except DataDirUnavailable as away:
        await transfer.blocked(away)
    except UpstreamRefused as refused:
        code = refused.code or f"http_{refused.status}"
        await transfer.refused(JobError(code=code, message=refused.message, param="training_file"))
    except (UpstreamUnauthorized, UpstreamUnreachable) as error:
        pause = await hold(ctx, error)
        await _later(ctx, transfer.record, lease, waiters, pause=pause)
    except UpstreamError as error:
        log.warning("uploading %s to %s failed: %s", copy.file_id, copy.upstream, error.message)
        await transfer.failed(error)
    else:
        if not done:
            await _later(ctx, transfer.record, lease, [], pause=0.0)


async def _traces(ctx: Context, waiters: list[str]) -> list[str | None]:
    """Returns the traces of the jobs that wait for a copy, at least one entry."""
    if not telemetry.is_on():
        return [None]
    records = await ctx.store.jobs.read_many(waiters[:LINKED_JOBS])
    return [record.job.traceparent for record in records if record.job.traceparent] or [None]


async def _without_bytes(ctx: Context, transfer: Transfer) -> None:
    """Takes the bytes from elsewhere or ends the copy, if the data directory is there and lacks them; else waits."""
    copy = transfer.record.copy
    try:
        if await ctx.files.storage.size(copy.file_id) == copy.bytes:  # the directory was away for a moment
            await _later(ctx, transfer.record, transfer.lease, [], pause=1.0)
        elif not await _other_source(ctx, transfer):
            error = JobError(code="file_missing", message=f"The content of {copy.file_id} is no longer kept here.")
            await transfer.refused(error)
    except DataDirUnavailable as away:
        await transfer.blocked(away)


async def _later(ctx: Context, record: CopyRecord, lease: Lease, waiters: list[str], *, pause: float) -> None:
    change = record.change(record.copy, lease).due(record.member, pause)
    for job_id in waiters:
        change.wake(job_member(job_id))  # they show why they wait
    await ctx.store.commit(change)


async def _other_source(ctx: Context, transfer: Transfer) -> bool:
    """Takes the bytes from another file with the same content. Returns False if there is none."""
    for job_id in transfer.waiters:
        try:
            job = (await ctx.store.jobs.read(job_id)).job
        except (JobNotFound, RecordTooNew, RecordUnreadable):
            continue
        copy = transfer.record.copy
        for file in job.files:
            same = file.sha256 == copy.sha256 and file.id != copy.file_id
            if same and await ctx.files.storage.exists(file.id):
                await transfer.from_another(file, upstream_name(file))
                return True
    return False
