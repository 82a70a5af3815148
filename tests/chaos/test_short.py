"""The short form of the matrix, in a minute: one point of each kind, all at once in one deployment.

`make chaos` tries every point in every way and writes docs/guarantees-<date>.md.
"""

import asyncio
from pathlib import Path

from tests.chaos.drive import drive
from tests.chaos.faults import Fault, Run
from tests.chaos.town import town

#: What dies at which point. Each of these has cost somebody a job, a payment or a webhook.
FAULTS = (
    Fault("API: commit job accepted new", "after", "kill"),
    Fault("API: commit job accepted new", "after", "drop"),
    Fault("clock: claim", "after", "kill"),
    Fault("worker: RQ pop from steps", "after", "kill"),
    Fault("work-horse: commit job creating +intent", "after", "kill+parent"),
    Fault("work-horse: POST /fine_tuning/jobs", "before", "kill"),
    Fault("work-horse: POST /fine_tuning/jobs", "after", "kill"),
    Fault("work-horse: POST /fine_tuning/jobs", "after", "stop"),
    Fault("work-horse: POST /files", "after", "kill+parent"),
    Fault("work-horse: commit job tracked -intent", "after", "drop"),
    Fault("work-horse: commit job settled -intent", "before", "kill"),
    Fault("work-horse: webhook", "after", "kill"),
)
UPSTREAM = ("after_http_500*1", "late_reset:1.5*1", "http_409*1", "after_rate_limit_exceeded:2*1")


async def test_whatever_dies_there_is_one_job_one_payment_and_one_webhook_id(tmp_path: Path) -> None:
    runs = [Run(number, "plain", fault) for number, fault in enumerate(FAULTS, 1)]
    runs += [Run(number, "upstream", None, fault) for number, fault in enumerate(UPSTREAM, len(runs) + 1)]
    runs += [Run(len(runs) + 1, "cancel", None, "stall")]
    async with town(tmp_path) as place:
        async with asyncio.TaskGroup() as group:
            for run in runs:
                group.create_task(drive(place, run))
        forgotten = place.forgotten
    assert [f"{run.what}: {fault}" for run in runs for fault in run.broken] == []
    assert [run.what for run in runs if run.fault and not run.fault.struck_at] == [], "points that nobody came by"
    assert max(run.taken_up_after or 0 for run in runs) <= 60
    assert forgotten == set()
