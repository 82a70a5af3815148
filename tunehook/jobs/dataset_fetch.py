"""Dataset fetch: brings the files of an imported job from its upstream, checks them and keeps them as ours.

    fetching   a step of the worker fetches; an upstream that does not answer is asked again, for a day
    kept       the job's training and validation file are files of its project
    lost       a file cannot be had, with the reason; one that was fetched stays the job's

A file's record, its place in the job and the note that it was fetched are one commit, so a killed step leaves nothing
but bytes without a record, which retention removes. The same bytes are one file of the project.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from tunehook.context import Context
from tunehook.errors import (
    DataDirUnavailable,
    DatasetUnread,
    FileUnusable,
    TooLarge,
    UpstreamError,
    UpstreamRefused,
    UpstreamTooLarge,
    UpstreamUnknown,
)
from tunehook.files import ingest
from tunehook.files.storage import Incoming
from tunehook.jobs import uploading
from tunehook.model.file import File
from tunehook.model.job import FileRef, Job, KeptDataset, Message, Stage, is_upstream_id
from tunehook.model.member import dataset_member
from tunehook.store.engine.commit import AlreadyThere, Change, Missing, optimistic_update
from tunehook.store.engine.lease import Lease
from tunehook.store.engine.step import run_step
from tunehook.store.jobs import JobRecord
from tunehook.upstreams.protocol import Content

log = logging.getLogger(__name__)

#: The largest file, as of an upload in parts.
MOST_BYTES = 8 * 1024**3
#: An upstream that gives no usable answer is asked again for this long.
GIVE_UP_SECONDS = 24 * 3600
SHORTEST_PAUSE, LONGEST_PAUSE = 5.0, 600.0
#: Why a file is lost and will not be there later either.
_LOST = (UpstreamRefused, UpstreamTooLarge, FileUnusable, TooLarge)


@optimistic_update
async def start(ctx: Context, job_id: str) -> JobRecord:
    """Starts the fetch of a job's files, unless they are here or on their way. Returns the job."""
    record = await ctx.store.jobs.read(job_id)
    job = record.job
    fetching = job.dataset is not None and job.dataset.state == "fetching"
    if fetching or not await _missing(ctx, job):
        return record
    changed = job.model_copy(update={"dataset": KeptDataset(since=record.now)})
    await ctx.store.commit(record.change(changed).due(dataset_member(job_id), 0.0))
    return await ctx.store.jobs.read(job_id)


async def _missing(ctx: Context, job: Job) -> dict[str, str]:
    """Returns the files that are not here: `training` or `validation` → its id at the upstream."""
    seen = job.seen
    if seen is None:
        return {}
    there = {"training": seen.training_file or "", "validation": seen.validation_file}
    missing: dict[str, str] = {}
    for name, file_id in there.items():
        ours: FileRef | None = getattr(job, name)
        if file_id is None:
            continue
        record = await ctx.store.files.read_any(ours.id) if ours and ours.upstream_id is None else None
        of_project = record is not None and record.file.project == job.project
        if record is None or not of_project or not await ctx.files.storage.exists(record.file.id):
            missing[name] = file_id
    return missing


async def fetch(
    ctx: Context, job_id: str, *, most_bytes: int = MOST_BYTES, give_up_seconds: float = GIVE_UP_SECONDS
) -> None:
    """Runs one step: fetches what is missing, and writes what came of it. `most_bytes`: of one file."""

    async def _fetch(lease: Lease) -> None:
        record = await ctx.store.jobs.read(job_id)
        dataset = record.job.dataset
        if dataset is None or dataset.state != "fetching":
            await ctx.store.unplan(lease.member)
            return
        lost: list[str] = []
        for name, file_id in (await _missing(ctx, record.job)).items():
            try:
                await _fetch_one(ctx, record.job, name, file_id, lease, most_bytes)
            except _LOST as error:
                lost.append(f"{name} file: {error.message}")
            except (UpstreamError, DatasetUnread) as error:
                if record.now - dataset.since < give_up_seconds:
                    after = error.retry_after if isinstance(error, UpstreamError) else None
                    await _retry_later(ctx, job_id, lease, f"{name} file: {error.message}", after)
                    return
                lost.append(f"{name} file: given up after {give_up_seconds / 3600:.0f} hours: {error.message}")
            except DataDirUnavailable as error:  # no verdict on the file, however long it lasts
                await _retry_later(ctx, job_id, lease, f"{name} file: {error.message}", None)
                return
        await _end(ctx, job_id, lease, "; ".join(lost) or None)

    await run_step(ctx.store, dataset_member(job_id), _fetch)


async def _fetch_one(ctx: Context, job: Job, name: str, file_id: str, lease: Lease, most_bytes: int) -> None:
    """Fetches one file and makes it the job's. Raises what `_LOST` names, UpstreamError, DataDirUnavailable."""
    if not is_upstream_id(file_id):
        raise UpstreamRefused(f"The upstream '{job.upstream}' gives no id for it.", upstream=job.upstream, status=404)
    origin = f"{job.upstream}:{file_id}"
    _, earlier = await _fetched(ctx, job.project, origin)
    if earlier is not None and await _attach(ctx, job.id, name, earlier, lease, _use(ctx, earlier, origin)):
        return
    upstream = ctx.upstreams.get(job.upstream)
    if upstream is None:
        raise UpstreamUnknown("The upstream is no longer configured.", upstream=job.upstream)
    lease.check()
    ours: FileRef | None = getattr(job, name)
    own = ours is not None and ours.upstream_id is None  # made here, so of bytes that the project had
    there = file_id if own else await uploading.named_by_request(ctx, job, file_id)
    async with ingest.receiving(ctx.files.storage) as incoming:
        async with upstream.content(there) as content:
            await ctx.files.storage.check_room(content.size or 0)
            await _receive(job.upstream, content, incoming, most_bytes)
        before, same = await _fetched(ctx, job.project, await incoming.hashed())
        if same is not None and await _attach(ctx, job.id, name, same, lease, _use(ctx, same, origin)):
            return
        file = await ingest.keep_fetched(ctx.files, incoming, project=job.project, filename=content.filename)
    try:
        kept = await _attach(
            ctx, job.id, name, file, lease, lambda change: ctx.store.files.note_fetched(change, file, origin, before)
        )
    except AlreadyThere:
        kept = False
    if not kept:
        await ctx.files.storage.remove(file.id)
        raise UpstreamUnknown("Another job fetched the same file meanwhile.", upstream=job.upstream, retry_after=1.0)


async def _fetched(ctx: Context, project: str, what: str) -> tuple[str | None, File | None]:
    """Returns what is noted as fetched before, and that file if it is still here with its bytes."""
    noted, file = await ctx.store.files.fetched(project, what)
    return noted, file if file is not None and await ctx.files.storage.exists(file.id) else None


async def _receive(upstream: str, content: Content, incoming: Incoming, most_bytes: int) -> None:
    """Writes a file's bytes to the disk. Raises TooLarge, and UpstreamUnknown for more or fewer than announced."""
    limit = most_bytes if content.size is None else min(content.size, most_bytes)
    if content.size is not None and content.size > most_bytes:
        raise TooLarge(f"It has {content.size} bytes; at most {most_bytes} are kept.", limit=most_bytes)
    async for chunk in content.chunks:
        if incoming.bytes + len(chunk) > limit:
            if content.size is None:
                raise TooLarge(f"It has more than {most_bytes} bytes.", limit=most_bytes)
            raise UpstreamUnknown(upstream=upstream, why=f"the file has more than its {content.size} bytes")
        await incoming.write(chunk)
    if content.size not in (None, incoming.bytes):
        why = f"the connection broke off after {incoming.bytes} of {content.size} bytes"
        raise UpstreamUnknown(upstream=upstream, why=why)


Add = Callable[[Change], Change]


def _use(ctx: Context, file: File, origin: str) -> Add:
    return lambda change: ctx.store.files.use_fetched(change, file, origin)


@optimistic_update
async def _attach(ctx: Context, job_id: str, name: str, file: File, lease: Lease, add: Add) -> bool:
    """Makes a file the job's training or validation file. Returns False when it was deleted meanwhile."""
    record = await ctx.store.jobs.read(job_id)
    job = record.job
    ours = FileRef(id=file.id, sha256=file.sha256, bytes=file.bytes)
    spec = job.spec.model_copy(update={f"{name}_file": file.id})
    changed = job.model_copy(update={name: ours, "spec": spec})
    change = add(record.change(changed, lease))
    model = job.seen.fine_tuned_model if job.seen else None
    made = await ctx.store.models.find(model, job.project) if model else None
    if model and made is not None and made.name == model and made.job_id == job.id:
        ctx.store.models.name(change, changed, model)
    if job.stage is not Stage.SETTLED:
        ctx.store.files.need(change, file, job.id)
    change.say(job.id, Message(created_at=record.now, message=f"The {name} file is kept here: {file.id}"))
    try:
        await ctx.store.commit(change)
    except Missing:
        return False
    return True


@optimistic_update
async def _retry_later(ctx: Context, job_id: str, lease: Lease, reason: str, retry_after: float | None) -> None:
    record = await ctx.store.jobs.read(job_id)
    dataset = record.job.dataset
    assert dataset is not None
    pause = max(min(LONGEST_PAUSE, SHORTEST_PAUSE * 2 ** min(dataset.failures, 10)), min(3600.0, retry_after or 0.0))
    failed = dataset.model_copy(update={"failures": dataset.failures + 1, "reason": reason})
    change = record.change(record.job.model_copy(update={"dataset": failed}), lease)
    await ctx.store.commit(change.due(lease.member, pause))
    log.warning("the dataset of job %s is not fetched yet: %s", job_id, reason)


@optimistic_update
async def _end(ctx: Context, job_id: str, lease: Lease, lost: str | None) -> None:
    record = await ctx.store.jobs.read(job_id)
    dataset = record.job.dataset
    assert dataset is not None
    ended = dataset.model_copy(update={"state": "lost" if lost else "kept", "failures": 0, "reason": lost})
    change = record.change(record.job.model_copy(update={"dataset": ended}), lease).due(lease.member, None)
    if lost:
        text = f"The dataset could not be fetched. {lost}"
        change.say(job_id, Message(created_at=record.now, level="warn", message=text))
    await ctx.store.commit(change)
    log.info("dataset of job %s: %s", job_id, ended.state)
