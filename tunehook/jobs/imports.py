"""Imports: takes over an upstream's job that was started elsewhere, and tracks it like any other."""

from __future__ import annotations

import time
from contextlib import suppress

from tunehook import telemetry
from tunehook.context import Context
from tunehook.dataset.prices import Method
from tunehook.errors import Conflict, InvalidParameter, JobNotFound, JobTaken, UpstreamRefused
from tunehook.jobs import cost, dataset_fetch, tracking, upstream_choice
from tunehook.model.api_key import ApiKey
from tunehook.model.job import (
    AT_UPSTREAM,
    TAG,
    FileRef,
    Job,
    JobSpec,
    KeptDataset,
    Message,
    Stage,
    UpstreamJob,
    mark_of,
)
from tunehook.model.member import dataset_member, import_member, job_member
from tunehook.model.record import new_id
from tunehook.store.jobs import JobRecord
from tunehook.webhooks import event_types, publishing


async def import_job(
    ctx: Context,
    caller: ApiKey,
    *,
    upstream: str,
    upstream_job_id: str,
    callback_url: str | None,
    keep_dataset: bool = False,
) -> JobRecord:
    """Returns the imported job; if the project has it already, as it is.

    `keep_dataset`: a step of the worker fetches its files from the upstream, of a job that the project has already too.

    Raises JobTaken for a job that was made here or bears another deployment's mark, UnknownUpstream, InvalidParameter,
    and LeaseTaken while another call imports it. A job of another project is answered like an unknown one.
    """
    upstream_choice.check_name(ctx, upstream, "upstream")
    if callback_url is not None:
        ctx.webhooks.check_url(callback_url, "callback_url")
    async with ctx.store.lease(import_member(upstream, upstream_job_id)):
        project, known = await _known(ctx, upstream, upstream_job_id)
        if known is not None and project == caller.project:
            return await dataset_fetch.start(ctx, known.job.id) if keep_dataset else known
        try:
            seen = await ctx.upstreams[upstream].retrieve(upstream_job_id)
        except UpstreamRefused as refused:
            if refused.status in (400, 404):
                raise _unknown(upstream, upstream_job_id) from refused
            raise InvalidParameter(param="upstream_job_id", why=refused.message) from refused
        if project not in (None, caller.project):  # only now, so that it takes as long as for an unknown job
            raise _unknown(upstream, upstream_job_id)
        if seen.id != upstream_job_id:  # the id that was looked up and leased is another spelling
            why = f"the upstream calls that job {seen.id[:128]!r}; ask for it by that id"
            raise InvalidParameter(param="upstream_job_id", why=why)
        await _refuse_marked(ctx, caller, upstream, seen)
        job = _job(ctx, caller, upstream, seen, callback_url, keep_dataset=keep_dataset)
        await _enter(ctx, job, seen)
    record = await ctx.store.jobs.read(job.id)
    if seen.ended:  # otherwise the next poll would see it
        with suppress(Conflict):
            await tracking.observe(ctx, record, seen)
    return await ctx.store.jobs.read(job.id)


def _unknown(upstream: str, upstream_job_id: str) -> InvalidParameter:
    why = f"'{upstream}' has no job {upstream_job_id} that this project may take over"
    return InvalidParameter(param="upstream_job_id", why=why)


async def _known(ctx: Context, upstream: str, upstream_job_id: str) -> tuple[str | None, JobRecord | None]:
    """Returns the project that has or had the job, and its record here; None for what there is not."""
    [(owner, project)] = await ctx.store.upstreams.owners(upstream, [upstream_job_id])
    if owner is None:
        return project, None
    try:
        record = await ctx.store.jobs.read(owner)
    except JobNotFound:  # deleted by retention since
        return None, None
    return record.job.project, record


async def _refuse_marked(ctx: Context, caller: ApiKey, upstream: str, seen: UpstreamJob) -> None:
    """Raises JobTaken for a job with a mark: it is a job made here, or its extra, or another deployment's."""
    deployment, job_id = mark_of(seen)
    if not deployment:
        return
    try:
        record = await ctx.store.jobs.read(job_id)
    except JobNotFound:
        # Its record was lost or deleted: an import brings it back. Versions before 0.3 marked by the name alone.
        if deployment in (ctx.instance, await ctx.mark()):
            return
        why = (
            f"it bears the mark of another deployment, {deployment!r}. If that was this one before its Redis was lost, "
            f"set TUNEHOOK_INSTANCE={deployment} and ask again"
        )
        raise JobTaken(upstream=upstream, upstream_job_id=seen.id, why=why) from None
    if record.job.project != caller.project:
        raise _unknown(upstream, seen.id)
    raise JobTaken(upstream=upstream, upstream_job_id=seen.id, why="it bears the mark of a job that was made here")


def _job(
    ctx: Context, caller: ApiKey, upstream: str, seen: UpstreamJob, callback_url: str | None, *, keep_dataset: bool
) -> Job:
    labels = {name: text for name, text in (seen.metadata or {}).items() if name != TAG}
    spec = JobSpec(
        model=seen.model,
        training_file=AT_UPSTREAM + (seen.training_file or "file-unknown"),
        method=seen.method,
        hyperparameters=seen.hyperparameters,
        metadata=labels or None,
        seed=seen.seed or 0,
    )
    now, rules = int(time.time()), ctx.rules(upstream)
    method: Method = seen.method["type"] if seen.method else "supervised"
    return Job(
        id=new_id("ftjob-"),
        project=caller.project,
        key_id=caller.id,
        created_at=now,
        stage=Stage.TRACKED,
        spec=spec,
        upstream=upstream,
        callback_url=callback_url,
        training=FileRef(id=spec.training_file, sha256="", bytes=0),
        upstream_job_id=seen.id,
        seen=seen,
        dataset=KeptDataset(since=now) if keep_dataset else None,
        price=cost.price_of(ctx.prices.find(seen.model, method, rules.kind)),
        deployment=rules.deployment,
        deploy=not seen.ended,
        traceparent=telemetry.current(),
    )


async def _enter(ctx: Context, job: Job, seen: UpstreamJob) -> None:
    change = ctx.store.jobs.submission(job).due(job_member(job.id), tracking.REASSURE_SECONDS)
    ctx.store.upstreams.track(change, job, seen)
    ctx.store.projects.count(change, job)
    text = f"Took over {seen.id} of the upstream '{job.upstream}': {job.id}"
    change.say(job.id, Message(created_at=job.created_at, message=text))
    if job.dataset is not None:
        change.due(dataset_member(job.id), 0.0)
    await publishing.publish(ctx.webhooks, change, job, event_types.CREATED, now=job.created_at)
    await ctx.store.commit(change)
