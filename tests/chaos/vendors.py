"""The attack at each vendor: creates go wrong, workers are killed in the middle, and each job is paid for once.

All kinds at once in one deployment; each vendor is a fake (tests/fakes) that counts the jobs it was made to create.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import openai

from tests.chaos import processes
from tests.chaos.faults import Run
from tests.chaos.report import Report
from tests.fakes import fireworks, nebius, together
from tests.fakes.datasets import dataset
from tests.fakes.deployment import Deployment, deployment
from tests.fakes.receiver import Receiver, running_receiver
from tests.fakes.vendor_faults import FakeVendor, Fault

LOST: tuple[Fault, ...] = ("lost before", "lost after", "500 after", "500 before", "late")
#: Seconds until every job is tracked, and then until every webhook has come.
TRACKED, TOLD = 600.0, 120.0


@dataclass
class Vendor:
    """`paid`: the ids of the jobs that were created there. `end`: has them all succeed."""

    kind: str
    fake: FakeVendor
    settings: dict[str, str]
    model: str
    paid: Callable[[], list[str]]
    end: Callable[[], None]
    runs: list[Run] = field(default_factory=list)
    tracked_after: float = 0.0  #: seconds from the first job until all were tracked

    @property
    def creates(self) -> int:
        """Requests that asked for a job."""
        paths = {"fireworks": "supervisedFineTuningJobs", "together": "/fine-tunes", "nebius": "/fine_tuning/jobs"}
        asked = (call.partition("?")[0] for call in self.fake.asked)
        return sum(call.startswith("POST") and call.endswith(paths[self.kind]) for call in asked)


@asynccontextmanager
async def vendors() -> AsyncIterator[list[Vendor]]:
    async with (
        fireworks.running_fireworks() as fire,
        together.running_together() as tog,
        nebius.running_nebius() as neb,
    ):
        account = {"FIREWORKS_API_KEY": fire.key, "FIREWORKS_ACCOUNT_ID": fire.account, "FIREWORKS_BASE_URL": fire.url}
        yield [
            Vendor(
                "fireworks",
                fire,
                account,
                fireworks.TUNABLE,
                lambda: [str(job["name"]).rpartition("/")[2] for job in fire.all_jobs()],
                lambda: fire.set_state("JOB_STATE_COMPLETED"),
            ),
            Vendor(
                "together",
                tog,
                {"TOGETHER_API_KEY": tog.key, "TOGETHER_BASE_URL": tog.url},
                together.TUNABLE,
                lambda: list(tog.jobs),
                lambda: tog.set_status("completed"),
            ),
            Vendor(
                "nebius",
                neb,
                {"NEBIUS_API_KEY": neb.key, "NEBIUS_BASE_URL": f"{neb.url}/v1"},
                nebius.TUNABLE,
                lambda: list(neb.jobs),
                lambda: neb.set_status("succeeded"),
            ),
        ]


async def kill(town: Deployment, *, supervisor: bool) -> None:
    """SIGKILL for workers, work-horses and clock, in the middle of whatever they do; they are started again.

    `supervisor`: for that, too; a manager starts it again.
    """
    if not supervisor:
        for child in processes.children(town.worker.pid):
            for horse in [*processes.children(child), child]:
                processes.kill(horse)
        return
    town.worker.kill()
    await asyncio.to_thread(town.worker.stop)
    town.worker.start()


async def landing(fakes: Iterable[FakeVendor]) -> None:
    """Calls whose answer was lost are carried out a little later."""
    while True:
        await asyncio.sleep(0.3)
        for fake in fakes:
            await fake.land()


async def _submit(client: openai.AsyncOpenAI, vendor: Vendor, count: int, callback: str) -> None:
    """Jobs with one dataset and, as in a sweep, with seeds that repeat."""
    file = await client.files.create(file=("train.jsonl", dataset()), purpose="fine-tune")
    extra = {"callback_url": callback, "tunehook": {"upstream": vendor.kind}}
    for number in range(1, count + 1):
        run = Run(number, vendor.kind, None, "lost, late or 5xx; workers killed")
        job = await client.fine_tuning.jobs.create(
            model=vendor.model, training_file=file.id, seed=number % 7, extra_body=extra
        )
        run.job_id = job.id
        vendor.runs.append(run)


async def _all_tracked(client: openai.AsyncOpenAI, vendor: Vendor, began: float) -> None:
    """Returns when the upstream has every job, as far as we know; each job's id there goes into its check."""
    there: dict[str, str] = {}
    left = {str(run.job_id): run for run in vendor.runs}
    while left:
        await asyncio.sleep(1.0)
        for job_id in list(left):
            job = await client.fine_tuning.jobs.retrieve(job_id)
            ours = (job.model_extra or {})["tunehook"]
            if ours["stage"] in ("tracked", "settled"):
                run = left.pop(job_id)
                run.seconds = time.monotonic() - began
                if (other := there.setdefault(ours["upstream_job_id"] or job_id, job_id)) != job_id:
                    run.broken.append(f"it has the same upstream job as {other}")
                if ours["stage"] == "settled":
                    run.broken.append(f"it ended {job.status}: {job.error}")
    vendor.tracked_after = time.monotonic() - began


def _check(kinds: list[Vendor], receiver: Receiver, report: Report) -> None:
    told = Counter((hook.event["data"]["id"], hook.event["type"]) for hook in receiver.hooks)
    for vendor in kinds:
        for run in vendor.runs:
            if [kind for job_id, kind in told.elements() if job_id == run.job_id] != ["fine_tuning.job.succeeded"]:
                run.broken.append(f"webhooks {[kind for job_id, kind in told.elements() if job_id == run.job_id]}")
            run.checked = True
        report.add(vendor.runs)
        paid, jobs = len(set(vendor.paid())), len(vendor.runs)
        if paid != jobs:
            report.broken.append(f"{vendor.kind}: {paid} jobs paid for {jobs}")
        wrong = jobs - len(vendor.fake.faults["create job"])
        report.notes.append(
            f"{vendor.kind}: {jobs} jobs, {wrong} creates went wrong, {vendor.creates} were sent, {paid} jobs paid; "
            f"all tracked after {vendor.tracked_after:.0f} s."
        )


async def attack(
    directory: Path, *, jobs: int, kills: int, pause: float = 4.0, settle: float = 20.0, supervisor: bool = True
) -> Report:
    """`jobs` of each kind; `kills` of all workers, `pause` seconds apart; `settle`: the settle time in seconds.

    `supervisor`: whether it is killed with them.
    """
    report = Report(f"{jobs} jobs at each vendor, {kills} times all workers killed", "vendors")
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        kinds = await stack.enter_async_context(vendors())
        receiver = await stack.enter_async_context(running_receiver())
        settings = {name: text for vendor in kinds for name, text in vendor.settings.items()}
        for vendor in kinds:
            vendor.fake.goes_wrong("create job", *(LOST * jobs)[:jobs])
        settings |= {"TUNEHOOK_SETTLE_SECONDS": str(settle), "TUNEHOOK_POLL_SECONDS": "5"}
        town = stack.enter_context(deployment(directory, simulators={"openai": ()}, all_names=False, **settings))
        key = await town.key("p")
        client = await stack.enter_async_context(openai.AsyncOpenAI(base_url=town.url, api_key=key.key))
        first = time.monotonic()
        late = asyncio.ensure_future(landing([vendor.fake for vendor in kinds]))
        stack.callback(late.cancel)
        await asyncio.gather(*(_submit(client, vendor, jobs, receiver.url) for vendor in kinds))
        for _ in range(kills):
            await asyncio.sleep(pause)
            await kill(town, supervisor=supervisor)
        async with asyncio.timeout(TRACKED):
            await asyncio.gather(*(_all_tracked(client, vendor, first) for vendor in kinds))
        for vendor in kinds:
            await vendor.fake.land()
            vendor.end()
        await receiver.wait(jobs * len(kinds), seconds=TOLD)
        _check(kinds, receiver, report)
        report.notes.append(f"All workers were killed {kills} times; the settle time was {settle:g} s.")
        report.logs = town.worker.said()
    report.seconds = time.monotonic() - began
    return report
