"""The job whose model is deployed: asks for its deployment, and writes to it what became of that."""

from __future__ import annotations

from tunehook.context import Context
from tunehook.errors import Conflict, JobNotFound, RecordUnreadable
from tunehook.jobs.finishing import name_model
from tunehook.model.deployment import OVER, Deployment, shown_state
from tunehook.model.job import Job, Message, Stage
from tunehook.model.member import deployment_member, ready_member
from tunehook.store.deployments import DeploymentRecord
from tunehook.webhooks import event_types, publishing

#: So long a job that succeeded waits for the name that deploying its model gives.
NAMED_SECONDS = 15 * 60


async def tell_job(ctx: Context, deployment: Deployment) -> None:
    """Writes to the job what became of its model. Raises RevisionChanged: the step is repeated then."""
    try:
        record = await ctx.store.jobs.read(deployment.id)
    except (JobNotFound, Conflict, RecordUnreadable):  # its removal must go on
        return
    job, state = record.job, shown_state(deployment)
    if job.stage is not Stage.SETTLED:
        if deployment.chat_model or deployment.stage in OVER:
            await ctx.store.wake(record.member)  # its step ends the job, with the name
        return
    unnamed = job.seen is not None and job.seen.unnamed and deployment.chat_model is not None
    if job.deployed == state and not unnamed:
        return
    changed = job.model_copy(update={"deployed": state})
    if unnamed and job.seen is not None:
        seen = job.seen.model_copy(update={"fine_tuned_model": deployment.chat_model})
        changed = changed.model_copy(update={"seen": seen})
    change = record.change(changed)
    if unnamed:
        await name_model(ctx, change, changed, record.now)
    if state == "callable" and await publishing.has_subscribers(ctx.webhooks, job.project, event_types.READY):
        change.due(ready_member(job.id), 0.0)
    if state is None and deployment.error is not None:
        text = f"The model's deployment at '{deployment.upstream}' ended: {deployment.error.message}"
        change.say(job.id, Message(created_at=record.now, level="warn", message=text))
    await ctx.store.commit(change)


def by_itself(ctx: Context, job: Job) -> bool:
    """Returns whether the job's model is deployed after success without being asked for."""
    upstream = ctx.upstreams.get(job.upstream)
    deploys = upstream.deploys if upstream else None
    return job.deploy and job.deployment is not None and deploys is not None and deploys.by_itself


async def want(ctx: Context, wanted: Deployment) -> Deployment:
    """Returns the deployment of a job's model, stored and due now if it was never asked for."""
    record = await ctx.store.deployments.read(wanted.id)
    if record is not None:
        return record.deployment
    await ctx.store.commit(DeploymentRecord.new(wanted).due(deployment_member(wanted.id), 0.0))
    return wanted
