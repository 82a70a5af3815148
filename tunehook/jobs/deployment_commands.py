"""Deploy, show and remove, as a client asks: each names a model, or the job that made it."""

from __future__ import annotations

from dataclasses import dataclass

from tunehook.context import Context
from tunehook.errors import (
    InvalidParameter,
    JobNotFound,
    ModelNotFound,
    ModelNotTrained,
    NotDeployed,
    UpstreamUnsupported,
)
from tunehook.jobs import deployed_job
from tunehook.model.deployment import OVER, Deployment, DeploymentStage
from tunehook.model.job import Job
from tunehook.model.member import deployment_member
from tunehook.store.engine.commit import optimistic_update


@dataclass(frozen=True)
class Target:
    """The model that a request names. `job` is None once retention has deleted it."""

    job_id: str
    upstream: str
    model: str | None
    base: str
    job: Job | None


async def deploy(ctx: Context, project: str, name: str) -> Deployment:
    """Asks for the deployment of a model. Asked twice, it is one.

    Raises ModelNotFound, ModelNotTrained, UpstreamUnsupported; NotDeployed while an earlier one is being removed.
    """
    target = await _target(ctx, project, name)
    _check_deploys(ctx, target.upstream)
    if target.job is not None and target.job.status != "succeeded":
        raise ModelNotTrained(id=target.job_id, status=target.job.shown_status, param="model")
    return await _deploy(ctx, project, target)


@optimistic_update
async def _deploy(ctx: Context, project: str, target: Target) -> Deployment:
    record = await ctx.store.deployments.read(target.job_id)
    if record is None:
        wanted = Deployment(
            id=target.job_id,
            project=project,
            upstream=target.upstream,
            upstream_job_id=(target.job.upstream_job_id if target.job else None) or "",
            model=target.model,
            base=target.base,
            mark=ctx.tag(target.job) if target.job else f"{await ctx.mark()}/{target.job_id}",
            asked_at=await ctx.store.now_ms() // 1000,
        )
        return await deployed_job.want(ctx, wanted)
    deployment = record.deployment
    if deployment.stage in OVER:
        deployment = deployment.again(record.now)
        # Its upstream may have named the model only since.
        deployment = deployment.model_copy(update={"model": target.model or deployment.model})
        await ctx.store.commit(record.change(deployment).wake(deployment_member(target.job_id)))
    elif deployment.stage is DeploymentStage.REMOVING:
        raise NotDeployed(model=target.model or target.job_id, why="its deployment is being removed", param="model")
    else:
        await ctx.store.confirm()  # an earlier call may have been answered that it is not
    return deployment


async def shown(ctx: Context, project: str, name: str) -> Deployment:
    """Returns the deployment of a model. Raises ModelNotFound, NotDeployed."""
    target = await _target(ctx, project, name)
    record = await ctx.store.deployments.read(target.job_id)
    if record is None:
        _check_deploys(ctx, target.upstream)
        raise NotDeployed(model=name[:200], why="no deployment was asked for here", param="model")
    return record.deployment


@optimistic_update
async def undeploy(ctx: Context, project: str, name: str) -> Deployment:
    """Has the deployment of a model removed. Raises ModelNotFound, NotDeployed."""
    deployment = await shown(ctx, project, name)
    record = await ctx.store.deployments.read(deployment.id)
    if record is None or record.deployment.stage in OVER or record.deployment.stage is DeploymentStage.REMOVING:
        await ctx.store.confirm()  # an earlier call may have been answered that it is not
        return deployment
    removing = record.deployment.moved(DeploymentStage.REMOVING)
    await ctx.store.commit(record.change(removing).wake(deployment_member(deployment.id)))
    return removing


async def _target(ctx: Context, project: str, name: str) -> Target:
    made = await ctx.store.models.find(name, project)
    if made is None and not name.startswith("ftjob-"):
        raise ModelNotFound(id=name[:200], param="model")
    if made is not None and made.name != name:
        why = f"it is a checkpoint, and deployments are of finished models alone: here, of {made.name}"
        raise InvalidParameter(param="model", why=why)
    job_id = made.job_id if made else name
    try:
        job = (await ctx.store.jobs.read(job_id, project)).job
    except JobNotFound:
        if made is None:
            raise ModelNotFound(id=name[:200], param="model") from None
        return Target(job_id, made.upstream, made.name, made.base, None)
    model = made.name if made else job.seen.fine_tuned_model if job.seen else None
    if made is None and model and await ctx.store.models.owner(model) not in (None, project):
        raise ModelNotFound(id=name[:200], param="model")  # its upstream gave it the name of another project's
    return Target(job_id, job.upstream, model, made.base if made else job.spec.model, job)


def _check_deploys(ctx: Context, upstream: str) -> None:
    """Raises UpstreamUnsupported where models are not deployed from here, with what to do instead."""
    known = ctx.upstreams.get(upstream)
    if known is not None and known.deploys is not None:
        return
    instead = ctx.rules(upstream).deployment or "Its models answer without one."
    what = "deployments that can be made here"
    raise UpstreamUnsupported(upstream=upstream, what=what, instead=instead, status=501, param="model")
