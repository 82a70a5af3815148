"""Projects: their limits, and the counts that the limits need, which are kept in the commits of jobs.

The limits of all projects are one hash with a version. Each request reads the version beside its API key, in one
command, and the hash only when it has changed: so a project without limits costs no command.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from redis.exceptions import WatchError

from tunehook.errors import RevisionChanged
from tunehook.model.job import Job
from tunehook.model.project import NO_LIMITS, ProjectSettings
from tunehook.store.engine import keys
from tunehook.store.engine.commit import Change, Occupied
from tunehook.store.engine.due_queue import DueQueue

#: A day's count is kept until no clock is in that day any more.
DAY_SECONDS = 2 * 24 * 3600


@dataclass(frozen=True)
class Usage:
    """What a project uses of its limits. `unsettled`, `today`: None where nothing is counted. Money in millionths."""

    unsettled: int | None
    today: int | None
    held: int
    spent: int
    awaiting: list[str]


class Projects:
    def __init__(self, store: DueQueue) -> None:
        self._store = store
        self._version: str | None = None
        self._known: Mapping[str, ProjectSettings] = {}

    # ---- settings

    async def refresh(self, version: str | None) -> None:
        """Reads the limits anew if they have another version than those that this process knows."""
        if version != self._version:
            self._known = await self.all()
            self._version = version

    def known(self, project: str) -> ProjectSettings:
        """Returns the limits as they were at the last request of this process."""
        return self._known.get(project, NO_LIMITS)

    async def read(self, project: str) -> ProjectSettings:
        document = await self._store.redis.hget(keys.PROJECT_SETTINGS, project)
        return ProjectSettings.model_validate_json(document) if document else NO_LIMITS

    async def all(self) -> dict[str, ProjectSettings]:
        """Returns the projects that have limits."""
        found = await self._store.redis.hgetall(keys.PROJECT_SETTINGS)
        return {project: ProjectSettings.model_validate_json(document) for project, document in found.items()}

    async def replace(self, project: str, before: ProjectSettings, after: ProjectSettings) -> ProjectSettings:
        """Writes `after` over `before`. Counts the unsettled jobs when they are limited from now on.

        Raises RevisionChanged when the limits are not `before` any more.
        """
        async with self._store.redis.pipeline(transaction=True) as pipe:
            await pipe.watch(keys.PROJECT_SETTINGS)
            document = await pipe.hget(keys.PROJECT_SETTINGS, project)
            if (ProjectSettings.model_validate_json(document) if document else NO_LIMITS) != before:
                raise RevisionChanged(record=f"The project '{project}'")
            pipe.multi()
            pipe.hset(keys.PROJECT_SETTINGS, project, after.model_dump_json(exclude_none=True))
            pipe.incr(keys.PROJECT_SETTINGS_VERSION)
            pipe.sadd(keys.PROJECTS, project)
            if after.unsettled_jobs is None:
                pipe.delete(keys.unsettled(project))
            elif before.unsettled_jobs is None:
                pipe.zdiffstore(keys.unsettled(project), [keys.jobs(project), keys.SETTLED])
            try:
                await pipe.execute()
            except WatchError:
                raise RevisionChanged(record=f"The project '{project}'") from None
        await self._store.confirm()
        return after

    # ---- counts, in the commits of jobs

    def count(self, change: Change, job: Job) -> Change:
        """Adds a job to its project's unsettled ones, where they are limited. Its end takes it out."""
        if self.known(job.project).unsettled_jobs is not None:
            change.do("ZADD", keys.unsettled(job.project), 0, job.id)
        return change

    def admit(self, change: Change, job: Job, day: str) -> Change:
        """Adds that the project has room for one more job, else Occupied. `day`: UTC's, such as 2026-11-26."""
        limits, project = self.known(job.project), job.project
        if limits.unsettled_jobs is not None:
            change.unsettled.append([keys.unsettled(project), keys.jobs(project), limits.unsettled_jobs])
        if limits.jobs_per_day is not None:
            change.counted.append([keys.jobs_on(project, day), limits.jobs_per_day, DAY_SECONDS])
        return self.count(change, job)

    def account(
        self, change: Change, job: Job, month: str, *, held: int = 0, spent: int = 0, budget: int | None = None
    ) -> Change:
        """Adds money that a job holds, or has spent, to its project's month; Occupied if the budget has less."""
        change.money.append([keys.money(job.project, month), held, spent, -1 if budget is None else budget])
        return change

    def await_approval(self, change: Change, job: Job) -> Change:
        return change.do("SADD", keys.awaiting(job.project), job.id)

    def decided(self, change: Change, job: Job) -> Change:
        return change.do("SREM", keys.awaiting(job.project), job.id)

    @staticmethod
    def limit_of(full: Occupied) -> str | None:
        """Returns the name of the limit that refused a commit; None if it was another precondition."""
        prefixes = {
            keys.unsettled(""): "unsettled_jobs",
            keys.jobs_on("", "")[:-1]: "jobs_per_day",
            keys.money("", "")[:-1]: "monthly_budget_usd",
        }
        return next((name for prefix, name in prefixes.items() if full.key.startswith(prefix)), None)

    # ---- the doctor's comparison with the records

    async def drifted(self, held: Mapping[tuple[str, str], int]) -> dict[str, tuple[int, int]]:
        """Returns account → what it holds and what its unsettled jobs hold, where these differ.

        `held`: (project, month) → what the records of unsettled jobs hold.
        """
        accounts = {keys.money(*whose): amount for whose, amount in held.items()}
        async for name in self._store.redis.scan_iter(match=keys.money("*", "*"), count=1000):
            accounts.setdefault(str(name), 0)
        stored = {name: int(await self._store.redis.hget(name, "held") or 0) for name in accounts}
        return {name: (stored[name], accounts[name]) for name in sorted(accounts) if stored[name] != accounts[name]}

    async def mend(self, account: str, difference: int) -> None:
        await self._store.redis.hincrby(account, "held", difference)

    async def uncounted(self) -> list[tuple[str, str]]:
        """Returns (project, job) of unsettled jobs that are not counted, though the project limits them."""
        found: list[tuple[str, str]] = []
        for project, limits in (await self.all()).items():
            if limits.unsettled_jobs is not None:
                indexes = [keys.jobs(project), keys.SETTLED, keys.unsettled(project)]
                found += [(project, str(job_id)) for job_id in await self._store.redis.zdiff(indexes)]
        return found

    async def count_late(self, project: str, job_id: str) -> None:
        await self._store.redis.zadd(keys.unsettled(project), {job_id: 0})

    # ---- usage

    async def usage(self, project: str, limits: ProjectSettings, *, day: str, month: str) -> Usage:
        async with self._store.redis.pipeline(transaction=False) as pipe:
            pipe.hmget(keys.money(project, month), "held", "spent").smembers(keys.awaiting(project))
            pipe.get(keys.jobs_on(project, day))
            pipe.zdiff([keys.unsettled(project), keys.SETTLED]).zdiff([keys.unsettled(project), keys.jobs(project)])
            (held, spent), awaiting, today, live, deleted = await pipe.execute()
        return Usage(
            unsettled=len(set(live) - set(deleted)) if limits.unsettled_jobs is not None else None,
            today=int(today or 0) if limits.jobs_per_day is not None else None,
            held=int(held or 0),
            spent=int(spent or 0),
            awaiting=sorted(awaiting),
        )
