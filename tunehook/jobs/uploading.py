"""Stages accepted and uploading: waits for checked files, then for their copies at the upstream."""

from __future__ import annotations

import hashlib

from tunehook.context import Context
from tunehook.errors import FileUnusable, TooFewExamples, UpstreamError
from tunehook.jobs import approvals, dataset_fit
from tunehook.jobs.finishing import settle
from tunehook.jobs.waiting import wait
from tunehook.model.file import Copy
from tunehook.model.job import FileRef, Job, JobError, Stage
from tunehook.openai_format import jobs
from tunehook.store.engine.lease import Lease
from tunehook.store.jobs import JobRecord

#: When a job comes again whose files are not checked yet; their check wakes it.
UNCHECKED_SECONDS = 60.0


def upstream_name(file: FileRef) -> str:
    """Returns the file's name at an upstream, which identifies it: files have no metadata there."""
    return f"{file.id}.{file.sha256[:16]}.jsonl"


async def copies_of(ctx: Context, job: Job) -> list[Copy | None]:
    """Returns the copies of the job's files at its upstream; None for one that nothing wanted yet."""
    records = [await ctx.store.copies.read(job.upstream, file.sha256) for file in job.files]
    return [record.copy if record else None for record in records]


async def upstream_files(ctx: Context, job: Job) -> tuple[str, str | None]:
    """Returns the ids of training and validation file at the upstream; "" and None for what is not there."""
    ids: list[str] = []
    for file in (job.training, job.validation):
        if file is not None and file.upstream_id:
            ids.append(await named_by_request(ctx, job, file.upstream_id))
        else:
            record = await ctx.store.copies.read(job.upstream, file.sha256) if file else None
            ids.append((record and record.copy.upstream_file_id) or "")
    return ids[0], ids[1] or None


async def named_by_request(ctx: Context, job: Job, upstream_file_id: str) -> str:
    """Returns the upstream's file that a request, or a job that was started elsewhere, names.

    The copy of another project's file becomes an id that no file has: so the upstream answers as for an unknown one.
    """
    file_id = await ctx.store.copies.file_of(job.upstream, upstream_file_id)
    record = await ctx.store.files.read_any(file_id) if file_id else None
    if file_id is None or (record is not None and record.file.project == job.project):
        return upstream_file_id
    return f"file-{hashlib.sha256(upstream_file_id.encode()).hexdigest()[:22]}"


async def is_lost(ctx: Context, job: Job) -> bool:
    """Returns whether the upstream has lost one of the files. No answer counts as not lost."""
    upstream = ctx.upstreams[job.upstream]
    copies = [copy for copy in await copies_of(ctx, job) if copy]
    try:
        return any([await upstream.find_file(copy.filename, copy.bytes) is None for copy in copies])
    except UpstreamError:
        return False


async def begin(ctx: Context, record: JobRecord, lease: Lease) -> bool:
    """Stage accepted: when both files are checked and fit, their copies are wanted at the upstream."""
    job = record.job
    try:
        if not await _are_checked(ctx, job):
            await ctx.store.commit(record.change(job, lease).due(record.member, UNCHECKED_SECONDS))
            return False
    except FileUnusable as error:
        await settle(ctx, record, "failed", lease=lease, error=_as_openai_says(error))
        return True
    if job.money is not None and job.money.state == "wanted":
        return await approvals.hold_money(ctx, record, lease)
    for file in job.files:
        await ctx.store.copies.want(job.upstream, file, upstream_name(file), job.id)
    await ctx.store.commit(record.change(job.moved(Stage.UPLOADING), lease).due(record.member, 20.0))
    return True


def _as_openai_says(error: FileUnusable) -> JobError:
    param = error.param or "training_file"
    code = "invalid_n_examples" if isinstance(error, TooFewExamples) else f"invalid_{param}"
    message = f"The job failed due to an invalid {param.replace('_', ' ')}. {error.message}"
    return JobError(code=code, message=message, param=param)


async def _are_checked(ctx: Context, job: Job) -> bool:
    """Returns False while a check is not over. Raises FileUnusable for files that do not fit the job."""
    records = [
        await ctx.store.files.read_any(ref.id) if ref and not ref.upstream_id else None
        for ref in (job.training, job.validation)
    ]
    training, validation = [record.file if record else None for record in records]
    if any(file is not None and file.status == "uploaded" for file in (training, validation)):
        return False
    method = jobs.method(job)
    grader = (method.get("reinforcement") or {}).get("grader")
    await dataset_fit.check(
        ctx.files.storage,
        training,
        validation,
        model=job.spec.model,
        method=method["type"],
        grader=grader,
        rules=ctx.rules(job.upstream),
    )
    return True


async def when_uploaded(ctx: Context, record: JobRecord, lease: Lease) -> bool:
    """Stage uploading: goes on when all copies are there. A finished copy wakes the job."""
    job = record.job
    copies = await copies_of(ctx, job)
    for file, copy in zip(job.files, copies, strict=True):
        # Wanted again each time: the job that wanted it first may have ended, and the upload with it.
        if copy is None or copy.state == "wanted":
            await ctx.store.copies.want(job.upstream, file, upstream_name(file), job.id)
    for copy in copies:
        if copy is not None and copy.state == "refused":
            await settle(ctx, record, "failed", lease=lease, error=copy.error)
            return True
    if all(copy is not None and copy.state == "ready" for copy in copies):
        await ctx.store.commit(record.change(job.moved(Stage.CREATING), lease).due(record.member, 20.0))
        return True
    held = await ctx.store.upstreams.held(job.upstream)
    if held:
        pause = max(1.0, held.until - record.now)
        return await wait(ctx, record, lease, held.code, held.reason, pause, Stage.UPLOADING)
    waiting = next((copy.waiting for copy in copies if copy and copy.state == "wanted" and copy.waiting), None)
    if waiting:  # the next attempt wakes the job with its result
        pause = max(20.0, (waiting.retry_at or 0) - record.now)
        return await wait(ctx, record, lease, waiting.code, waiting.reason, pause, Stage.UPLOADING)
    stays = job.moved(Stage.UPLOADING)
    await ctx.store.commit(record.change(stays, lease).due(record.member, 60.0))
    return False
