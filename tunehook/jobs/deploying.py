"""Deploying: makes a tuned model callable at its upstream, when asked, or by itself where that costs nothing.

Before each create the time of the try is written, and the deployment is searched for under its name first. A lost
answer is therefore found again, and a name of ours never stands for two deployments. A removal is repeated until the
vendor says that the deployment is gone; after a create, not before the settle time is over, since it may land late.
"""

from __future__ import annotations

import logging

from tunehook.context import Context
from tunehook.errors import (
    UpstreamBusy,
    UpstreamError,
    UpstreamNotReady,
    UpstreamRefused,
    UpstreamUnauthorized,
    UpstreamUnreachable,
)
from tunehook.jobs import upstream_hold
from tunehook.jobs.deployed_job import tell_job
from tunehook.jobs.waiting import pause_for
from tunehook.model.deployment import OVER, Deployed, DeploymentStage
from tunehook.model.job import JobError, Waiting
from tunehook.model.member import deployment_member
from tunehook.store.deployments import DeploymentRecord
from tunehook.store.engine.lease import Lease
from tunehook.store.engine.step import run_step
from tunehook.upstreams.hourly import price_an_hour

log = logging.getLogger(__name__)

#: A create answers within 25 s; a step that finds a younger try than this searches again later.
TRY_SECONDS = 20.0
#: How often one that runs is looked at: it may be removed at the vendor.
RUNNING_SECONDS = 300.0
SHORTEST_PAUSE, LONGEST_PAUSE = 3.0, 600.0
#: Looks in a row that must not find a deployment before it counts as removed by another.
MISSED_LOOKS = 3
_S = DeploymentStage
_STAGE_OF = {"deploying": _S.DEPLOYING, "running": _S.RUNNING}


async def advance(ctx: Context, job_id: str) -> None:
    """Runs one step of the deployment of a job's model."""
    member = deployment_member(job_id)

    async def _body(lease: Lease) -> None:
        record = await ctx.store.deployments.read(job_id)
        if record is None:
            await ctx.store.unplan(member)
            return
        await tell_job(ctx, record.deployment)
        if record.deployment.stage in OVER:
            await ctx.store.unplan(member)
        elif record.deployment.upstream not in ctx.upstreams:
            await ctx.store.plan(member, 60.0)
        else:
            await _act(ctx, record, lease)

    await run_step(ctx.store, member, _body)


async def _act(ctx: Context, record: DeploymentRecord, lease: Lease) -> None:
    """Does the next thing at the vendor; an answer that decides nothing makes it wait."""
    try:
        match record.deployment.stage:
            case _S.WANTED:
                await _create(ctx, record, lease)
            case _S.REMOVING:
                await _remove(ctx, record, lease)
            case _:
                await _look(ctx, record, lease)
    except UpstreamError as error:
        deployment = record.deployment
        since = deployment.waiting.since if deployment.waiting else record.now
        code, reason, pause = await _why_it_waits(ctx, error, record.now - since)
        log.warning("the deployment of job %s at %s waits: %s", deployment.id, deployment.upstream, reason)
        waiting = Waiting(code=code, reason=reason, since=since, retry_at=record.now + int(pause))
        record = await ctx.store.deployments.read(deployment.id) or record
        if record.deployment.stage is not deployment.stage:  # its removal was asked for meanwhile
            await ctx.store.wake(record.member)
            return
        changed = record.deployment.model_copy(update={"waiting": waiting})
        await ctx.store.commit(record.change(changed, lease).due(record.member, pause))


async def _why_it_waits(ctx: Context, error: UpstreamError, waited: int) -> tuple[str, str, float]:
    """Returns code, reason and pause (seconds) after an error that refuses nothing for good.

    `waited`: for so many seconds it has waited already. The pause grows with it, up to ten minutes.
    """
    if isinstance(error, UpstreamUnauthorized | UpstreamUnreachable):
        pause = await upstream_hold.hold(ctx, error)
        return error.code or "upstream_on_hold", error.message, pause
    if isinstance(error, UpstreamBusy):
        return pause_for(error)
    if isinstance(error, UpstreamNotReady):
        return "model_not_ready", error.message, 10.0
    pause = min(LONGEST_PAUSE, max(SHORTEST_PAUSE, float(waited)))
    code = error.code or f"http_{error.status}" if isinstance(error, UpstreamRefused) else "upstream_no_answer"
    return code, error.message, error.retry_after or pause


async def _create(ctx: Context, record: DeploymentRecord, lease: Lease) -> None:
    """Creates the deployment, unless it is found under its name."""
    deployment, upstream = record.deployment, ctx.upstreams[record.deployment.upstream]
    tried = deployment.tried_at is not None
    if tried:
        found = await upstream.deployment(deployment)
        if found is not None:
            await _adopt(ctx, record, lease, found)
            return
        if not _may_create_again(ctx, record):
            await _missed(ctx, record, lease)
            return
    await lease.renew()
    deployment = deployment.model_copy(update={"tried_at": record.now, "searches": 0})
    await ctx.store.commit(record.change(deployment, lease).due(record.member, TRY_SECONDS))
    record = DeploymentRecord(deployment, record.revision + 1, record.now_ms, record.fields)
    lease.check()
    try:
        found = await upstream.deploy(deployment)
    except UpstreamRefused as refused:
        error = JobError(code=refused.code or f"http_{refused.status}", message=refused.message)
        # An earlier create may land yet: it is watched for, and removed.
        failed = deployment.moved(_S.REMOVING if tried else _S.FAILED, error=error)
        await ctx.store.commit(record.change(failed, lease).due(record.member, 0.0))
        return
    await _adopt(ctx, record, lease, found)


def _may_create_again(ctx: Context, record: DeploymentRecord) -> bool:
    """Whether a create that was not found may be repeated: at once where its name is ours, else when it has settled."""
    deploys, deployment = ctx.upstreams[record.deployment.upstream].deploys, record.deployment
    if deploys is not None and deploys.finding == "named":
        return True
    age = record.now - (deployment.tried_at or 0)
    return age >= ctx.settle_seconds and deployment.searches >= MISSED_LOOKS


async def _adopt(ctx: Context, record: DeploymentRecord, lease: Lease, found: Deployed) -> None:
    """Writes what the vendor shows, and plans the next look; sends one that failed there to its removal."""
    deployment = record.deployment
    shown = {
        "there": found.there,
        "chat_model": found.chat_model or deployment.chat_model,
        "accelerator": found.accelerator,
        "accelerators": found.accelerators,
        "price": price_an_hour(ctx.rules(deployment.upstream).kind, found.accelerator, found.accelerators),
    }
    if found.state == "failed":
        error = JobError(code="deployment_failed", message=found.reason or "The vendor gave no reason.")
        moved, pause = deployment.moved(_S.REMOVING, error=error, **shown), 0.0
    elif found.state in ("removing", "gone"):
        gone = JobError(code="deployment_removed", message="The deployment was removed at the vendor.")
        moved, pause = deployment.moved(_S.REMOVING, error=gone, **shown), 0.0
    else:
        running_at = deployment.running_at or (record.now if found.state == "running" else None)
        moved = deployment.moved(_STAGE_OF[found.state], running_at=running_at, **shown)
        pause = min(30.0, max(2.0, (record.now - deployment.asked_at) / 4))
        if found.state == "running":
            # The first step after the change tells the job.
            pause = RUNNING_SECONDS if deployment.stage is _S.RUNNING else 0.0
        elif moved.chat_model != deployment.chat_model:
            pause = 0.0
    await ctx.store.commit(record.change(moved, lease).due(record.member, pause))


async def _look(ctx: Context, record: DeploymentRecord, lease: Lease) -> None:
    """Looks at a deployment that the vendor has shown; one that it shows no longer is gone."""
    deployment = record.deployment
    lease.check()
    found = await ctx.upstreams[deployment.upstream].deployment(deployment)
    if found is not None:
        await _adopt(ctx, record, lease, found)
    elif deployment.searches + 1 < MISSED_LOOKS:
        await _missed(ctx, record, lease)
    else:  # if it is there all the same, its removal ends it: nothing here would know of it
        gone = JobError(code="deployment_removed", message="The vendor does not show the deployment any more.")
        moved = deployment.moved(_S.REMOVING, error=gone)
        await ctx.store.commit(record.change(moved, lease).due(record.member, 0.0))


async def _missed(ctx: Context, record: DeploymentRecord, lease: Lease) -> None:
    """Counts a look that did not find it. The next is not at once: a vendor may be in trouble for minutes."""
    missed = record.deployment.model_copy(update={"searches": record.deployment.searches + 1, "waiting": None})
    pause = max(1.0, ctx.settle_seconds / 4)
    await ctx.store.commit(record.change(missed, lease).due(record.member, pause))


async def _remove(ctx: Context, record: DeploymentRecord, lease: Lease) -> None:
    """Asks the vendor for the removal, until it says that the deployment is gone."""
    deployment, upstream = record.deployment, ctx.upstreams[record.deployment.upstream]
    lease.check()
    found = await upstream.deployment(deployment) if deployment.tried_at is not None else None
    if found is None or found.state == "gone":
        age = record.now - (deployment.tried_at or 0)
        if found is None and age <= ctx.settle_seconds:  # a create whose answer was lost may land yet
            await ctx.store.plan(record.member, max(1.0, ctx.settle_seconds - age))
            return
        if found is None and deployment.there is not None and deployment.searches + 1 < MISSED_LOOKS:
            await upstream.undeploy(deployment)  # one look is no proof that a deployment which was there is gone
            await _missed(ctx, record, lease)
            return
        failed = deployment.error is not None and deployment.error.code != "deployment_removed"
        over = deployment.moved(_S.FAILED if failed else _S.GONE, chat_model=None)
        await ctx.store.commit(record.change(over, lease).due(record.member, 0.0))
        return
    if found.state != "removing":
        await upstream.undeploy(deployment.model_copy(update={"there": found.there}))
    await ctx.store.commit(record.change(deployment.moved(_S.REMOVING), lease).due(record.member, 2.0))
