"""Ten deployments while answers are lost, calls land late and workers are killed: one each, and none too many."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import httpx2
import pytest

from tests.chaos.vendors import LOST, kill, landing
from tests.fakes.deployment import Deployment, deployment
from tests.fakes.fireworks import SUPERVISED, TUNABLE, FakeFireworks, running_fireworks

MODELS = 10


async def imported(town: Deployment, key: str, fake: FakeFireworks, job: str, base: str) -> str:
    """Takes over a job that has ended at the vendor; returns its model."""
    now, full = fake.now(), fake.name(SUPERVISED, job)
    shown = {"name": full, "state": "JOB_STATE_COMPLETED", "baseModel": base, "createTime": now, "completedTime": now}
    fake.jobs[SUPERVISED][job] = {**shown, "dataset": fake.name("datasets", "owls")}
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=60.0) as client:
        body = {"upstream": "fireworks", "upstream_job_id": job}
        answer = await client.post(f"{town.url}/fine_tuning/jobs/import", json=body)
    return str(answer.json()["fine_tuned_model"])


async def states(url: str, key: str, method: Literal["POST", "GET", "DELETE"], models: list[str]) -> Counter[str]:
    """Calls `…/deploy` of each model; returns how many are in each state."""
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=60.0) as client:
        found: Counter[str] = Counter()
        for model in models:
            answer = await client.request(method, f"{url}/models/{quote(model, safe='')}/deploy")
            found[str(answer.json().get("state"))] += 1
    return found


async def until(town: Deployment, key: str, models: list[str], state: str) -> None:
    async with asyncio.timeout(180):
        while (await states(town.url, key, "GET", models))[state] < len(models):  # noqa: ASYNC110  of other processes
            await asyncio.sleep(1.0)


@pytest.mark.processes
@pytest.mark.timeout(300)
async def test_each_model_has_one_deployment_and_none_is_left(tmp_path: Path) -> None:
    """The workers are killed once, while half of the models are deployed and the others' deployments are removed."""
    async with running_fireworks() as fake:
        named = {"API_KEY": fake.key, "ACCOUNT_ID": fake.account, "BASE_URL": fake.url}
        settings = {f"FIREWORKS_{name}": value for name, value in named.items()}
        with deployment(
            tmp_path / "town", simulators={"openai": ()}, all_names=False, TUNEHOOK_POLL_SECONDS="60", **settings
        ) as town:
            caller = await town.key("p")
            models = [await imported(town, caller.key, fake, f"job-{n}", TUNABLE) for n in range(MODELS)]
            assert len(set(models)) == MODELS
            removed, kept = models[: MODELS // 2], models[MODELS // 2 :]
            late = asyncio.create_task(landing([fake]))
            await states(town.url, caller.key, "POST", removed)
            await until(town, caller.key, removed, "running")
            fake.goes_wrong("create deployment", *(LOST * MODELS)[: len(kept)])
            fake.goes_wrong("delete deployment", *(LOST * MODELS)[: len(removed)])
            await asyncio.gather(
                states(town.url, caller.key, "POST", kept),
                states(town.url, caller.key, "POST", kept),
                states(town.url, caller.key, "DELETE", removed),
            )
            await kill(town, supervisor=False)
            await until(town, caller.key, kept, "running")
            await until(town, caller.key, removed, "gone")
            late.cancel()
            await fake.land()
            live = {str(one["baseModel"]) for one in fake.deployments.live()}
            assert (fake.deployments.created, live) == (MODELS, set(kept))
