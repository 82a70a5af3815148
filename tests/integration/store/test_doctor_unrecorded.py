"""`tunehook doctor` after a restore: a deployment that the store forgot is billed on, so it is told."""

import asyncio
import json
import os
import sys
from typing import Any

import pytest

from tests.fakes.fireworks import FakeFireworks, running_fireworks
from tests.fakes.valkey import Valkey
from tests.integration.conftest import Bench
from tests.integration.upstreams.story import settings, with_upstream
from tunehook.jobs import deployed_job, deploying
from tunehook.model.deployment import Deployment, DeploymentStage
from tunehook.store.engine import keys
from tunehook.upstreams.fireworks import FireworksUpstream

pytestmark = pytest.mark.processes
COMMAND = (sys.executable, "-c", "import sys; from cli.main import main; sys.exit(main())", "doctor", "--json")


async def told(valkey: Valkey, fake: FakeFireworks, key: str = "") -> tuple[int, list[dict[str, Any]]]:
    """Runs the command; returns its exit status and what it says of deployments, with and without a record."""
    named = {"API_KEY": key or fake.key, "ACCOUNT_ID": fake.account, "BASE_URL": fake.url}
    environment = {f"FIREWORKS_{name}": value for name, value in named.items()}
    environment |= {"PATH": os.environ["PATH"], "REDIS_URL": valkey.url}
    done = await asyncio.create_subprocess_exec(*COMMAND, env=environment, stdout=asyncio.subprocess.PIPE)
    out, _ = await done.communicate()
    found = [row for row in json.loads(out) if row["kind"] in ("unrecorded", "deployment")]
    return done.returncode or 0, found


async def test_a_forgotten_deployment_is_told_and_taken_over_by_asking_for_it(bench: Bench, valkey: Valkey) -> None:
    async with running_fireworks() as fake:
        upstream = FireworksUpstream("openai", settings(fake.url, fake.key), account_id=fake.account)
        at, job_id = with_upstream(bench, upstream), await bench.accept()
        model = fake.name("models", "m")
        about: dict[str, Any] = {
            "id": job_id,
            "project": "p",
            "upstream": "openai",
            "upstream_job_id": "m",
            "model": model,
        }
        wanted = Deployment.model_validate({**about, "base": "b", "mark": "mark", "asked_at": 1})
        await deployed_job.want(at.ctx, wanted)
        await deploying.advance(at.ctx, job_id)
        fake.deployments.shown["by-hand"] = {"name": fake.name("deployments", "by-hand"), "state": "READY"}
        assert [row["kind"] for row in (await told(valkey, fake))[1]] == ["deployment"]

        await at.ctx.store.redis.delete(keys.deployment(job_id))  # the restore
        await at.ctx.store.redis.srem(keys.DEPLOYMENTS, job_id)
        status, [row] = await told(valkey, fake)
        assert (status, row["kind"], row["grave"]) == (1, "unrecorded", True)
        assert f"POST /v1/models/{job_id}/deploy takes it over" in row["message"]

        await deployed_job.want(at.ctx, wanted)
        async with asyncio.timeout(120):
            while (await deployed_job.want(at.ctx, wanted)).stage is not DeploymentStage.RUNNING:
                await deploying.advance(at.ctx, job_id)
        assert fake.deployments.created == 1
        assert [row["kind"] for row in (await told(valkey, fake))[1]] == ["deployment"]

        [refused] = (await told(valkey, fake, key="another"))[1][1:]
        assert "could not be listed" in refused["message"]
        await upstream.close()
