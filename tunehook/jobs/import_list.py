"""Import list: what an upstream has, and which of these jobs a project may take over."""

from __future__ import annotations

from dataclasses import dataclass

from tunehook.context import Context
from tunehook.errors import InvalidParameter, JobNotFound, TunehookError
from tunehook.jobs.upstream_choice import check_name
from tunehook.model.job import Job, UpstreamJob, is_upstream_id, mark_of
from tunehook.security.encryption import SecretUnreadable

#: Pages of the upstream's list that one request reads while all of their jobs belong to other projects.
MOST_PAGES = 10
#: Begins a cursor that stands for a job of another project: the id is encrypted, since it is not shown.
_SEALED = "sealed-"


@dataclass(frozen=True)
class Importable:
    """A job at an upstream. `job`: as this project has it already. `why_not`: why it cannot be taken over."""

    seen: UpstreamJob
    job: Job | None = None
    why_not: str | None = None


async def page(
    ctx: Context, project: str, *, upstream: str, after: str | None, most_pages: int = MOST_PAGES
) -> tuple[list[Importable], str | None]:
    """Returns jobs after the cursor `after`, newest first, of any status, and the cursor of the next page, if any.

    A cursor is the id of a job of the page, or stands for one of another project. Those are left out, as if they did
    not exist, so a page that is not the last may be empty. Raises UnknownUpstream, InvalidParameter, UpstreamError.
    """
    check_name(ctx, upstream, "upstream")
    at = None if after is None else _opened(ctx, upstream, after)
    for _ in range(most_pages):
        seen, more = await ctx.upstreams[upstream].page(at)
        found = await _of_project(ctx, project, upstream, seen)
        more = more and bool(seen) and seen[-1].id != at
        if found or not more:
            return found, found[-1].seen.id if more else None
        at = seen[-1].id
    return [], _SEALED + ctx.webhooks.encryption.encrypt(f"{upstream} {at}")


def _opened(ctx: Context, upstream: str, after: str) -> str:
    """Returns the upstream's id that a cursor stands for. Raises InvalidParameter."""
    of, _, job_id = upstream, "", after
    if after.startswith(_SEALED):
        try:
            of, _, job_id = ctx.webhooks.encryption.decrypt(after.removeprefix(_SEALED)).partition(" ")
        except SecretUnreadable:
            of = ""
    if of != upstream or not is_upstream_id(job_id):
        raise InvalidParameter(param="after", why="it must be the `last_id` of the page before")
    return job_id


async def _of_project(ctx: Context, project: str, upstream: str, seen: list[UpstreamJob]) -> list[Importable]:
    owners = await ctx.store.upstreams.owners(upstream, [job.id for job in seen])
    ours = [job_id or mark_of(job)[1] for job, (job_id, _) in zip(seen, owners, strict=True)]
    jobs = {record.job.id: record.job for record in await ctx.store.jobs.read_many(sorted({*ours} - {""}))}
    found = []
    for job, (job_id, forgotten), our_id in zip(seen, owners, ours, strict=True):
        here = jobs.get(our_id)
        if here is None and our_id and not await _is_gone(ctx, our_id):
            continue  # its record cannot be read, so its project is not known
        if (here.project if here else forgotten) not in (None, project):
            continue
        if job_id is None and here is not None:
            found.append(Importable(job, why_not="It bears the mark of a job that was made here."))
        elif here is not None:
            found.append(Importable(job, here))
        else:
            found.append(Importable(job, why_not=None if job_id else await _of_another_deployment(ctx, job)))
    return found


async def _is_gone(ctx: Context, job_id: str) -> bool:
    try:
        await ctx.store.jobs.read(job_id)
    except JobNotFound:
        return True
    except TunehookError:
        pass
    return False


async def _of_another_deployment(ctx: Context, job: UpstreamJob) -> str | None:
    deployment, _ = mark_of(job)
    if not deployment or deployment in (ctx.instance, await ctx.mark()):
        return None
    return f"It bears the mark of another deployment, {deployment!r}."
