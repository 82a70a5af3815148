"""Two projects on one deployment, and two deployments on one account: neither sees, uses or finds out the other's."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from tests.integration.service.conftest import Answer, Api, form
from tunehook import api_keys
from tunehook.jobs import copy_step, lifecycle
from tunehook.model.job import Job, Stage, UpstreamJob
from tunehook.store.engine import keys

BASE = "gpt-4.1-mini-2025-04-14"
THEIRS, UNKNOWN, OURS = (f"ft:{BASE}:acme::{name}" for name in ("Theirs", "Nobody", "Ours"))
DATASET = b"".join(
    json.dumps({"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": str(n)}]}).encode()
    + b"\n"
    for n in range(12)
)


def made(project: str, model: str) -> Job:
    spec = {"model": BASE, "training_file": "upstream:file-1", "seed": 1}
    training = {"id": "upstream:file-1", "sha256": "", "bytes": 0}
    return Job.model_validate(
        {
            "id": f"ftjob-{project}",
            "project": project,
            "key_id": "k",
            "created_at": 1,
            "spec": spec,
            "upstream": "openai",
        }
        | {"training": training, "seen": UpstreamJob(id="u", status="succeeded", model=BASE, fine_tuned_model=model)}
    )


@pytest.fixture
async def two(api: Api) -> Api:
    """The key of `tests`, which made one model; the project `others` made another."""
    for project, model in (("tests", OURS), ("others", THEIRS)):
        job = made(project, model)
        await api.ctx.store.commit(api.ctx.store.models.name(api.ctx.store.jobs.submission(job), job, model))
    return api


async def dataset(api: Api, key: str = "") -> str:
    answer = await api.call("POST", "/v1/files", data=form(content=DATASET), key=key)
    assert answer.status == 200, answer.body
    return str(answer.json["id"])


def judge(model: object, kind: str = "score_model") -> dict[str, Any]:
    needs = {"labels": ["a"], "passing_labels": ["a"]} if kind == "label_model" else {}
    return {"type": kind, "name": "j", "input": [{"role": "user", "content": "?"}], "model": model, **needs}


def multi(inner: dict[str, Any]) -> dict[str, Any]:
    return {"type": "multi", "name": "m", "graders": {"tone": inner}, "calculate_output": "tone"}


GRADERS: dict[str, Callable[[object], dict[str, Any]]] = {
    "alone": judge,
    "label": lambda model: judge(model, "label_model"),
    "in a multi": lambda model: multi(judge(model)),
    "deeper": lambda model: multi(multi(judge(model))),
}


def said(answer: Answer, *names: str) -> tuple[int, str]:
    """The answer without the names that were asked for."""
    text = json.dumps(answer.json["error"])
    for name in names:
        text = text.replace(name, "NAME")
    return answer.status, text


@pytest.mark.parametrize("grader", GRADERS)
@pytest.mark.parametrize("verb", ["run", "validate"])
@pytest.mark.parametrize("suffix", ["", ":ckpt-step-10"])
async def test_a_grader_names_no_model_of_another_project(two: Api, grader: str, verb: str, suffix: str) -> None:
    answers = {}
    for model in (THEIRS, UNKNOWN, OURS, BASE):
        body = {"grader": GRADERS[grader](model + suffix)} | ({"model_sample": "x"} if verb == "run" else {})
        answers[model] = await two.call("POST", f"/v1/fine_tuning/alpha/graders/{verb}", json=body)
    assert answers[THEIRS].error["code"] == "model_not_found"
    assert said(answers[THEIRS], THEIRS) == said(answers[UNKNOWN], UNKNOWN)
    passed = [answers[model].body for model in (OURS, BASE)]
    assert not [body for body in passed if b"was not tuned here" in body]


@pytest.mark.parametrize("grader", ["alone", "in a multi"])
@pytest.mark.parametrize("path", ["/v1/fine_tuning/jobs", "/v1/fine_tuning/jobs/estimate"])
async def test_a_job_names_no_grader_model_of_another_project(two: Api, grader: str, path: str) -> None:
    file_id = await dataset(two)
    answers = {}
    for model in (THEIRS, UNKNOWN, f" {THEIRS}", THEIRS.upper()):
        method = {"type": "reinforcement", "reinforcement": {"grader": GRADERS[grader](model)}}
        body = {"model": "o4-mini-2025-04-16", "training_file": file_id, "validation_file": file_id, "method": method}
        answers[model] = await two.call("POST", path, json=body)
    assert {answer.status for answer in answers.values()} == {404}
    assert said(answers[THEIRS], THEIRS) == said(answers[UNKNOWN], UNKNOWN)


@pytest.mark.parametrize("suffix", ["", ":ckpt-step-10"])
async def test_training_on_a_model_of_another_project_is_answered_like_training_on_an_unknown_one(
    two: Api, suffix: str
) -> None:
    file_id = await dataset(two)
    answers = {
        model: await two.call("POST", "/v1/fine_tuning/jobs", json={"model": model + suffix, "training_file": file_id})
        for model in (THEIRS, UNKNOWN, OURS)
    }
    assert answers[OURS].status == 200, answers[OURS].body
    assert answers[THEIRS].status == 404
    assert said(answers[THEIRS], THEIRS) == said(answers[UNKNOWN], UNKNOWN)


async def at_the_upstream(api: Api, **metadata: str) -> tuple[str, str]:
    """A file and a job that were made at the upstream without this deployment."""
    headers = {"authorization": "Bearer sk-elsewhere"}
    async with aiohttp.ClientSession(headers=headers) as session:
        data = form(content=DATASET)
        async with session.post(f"{api.simulator.base_url}/files", data=data) as answer:
            file_id = (await answer.json())["id"]
        body = {"model": BASE, "training_file": file_id, "metadata": {"simulate": "stall"} | metadata}
        async with session.post(f"{api.simulator.base_url}/fine_tuning/jobs", json=body) as answer:
            return file_id, (await answer.json())["id"]


async def take_over(api: Api, upstream_job_id: str, key: str = "") -> Answer:
    body = {"upstream": "openai", "upstream_job_id": upstream_job_id}
    return await api.call("POST", "/v1/fine_tuning/jobs/import", json=body, key=key)


async def others_key(api: Api) -> str:
    key, _ = await api_keys.create(api.ctx.store, api.ctx.webhooks.encryption, project="others", name="o")
    return key


async def test_an_import_does_not_tell_whether_another_project_has_the_job(api: Api) -> None:
    _, theirs = await at_the_upstream(api)
    assert (await take_over(api, theirs, await others_key(api))).status == 200
    refused = await take_over(api, theirs)
    assert refused.status == 400
    assert said(refused, theirs) == said(await take_over(api, "ftjob-nobody"), "ftjob-nobody")


async def advanced(api: Api, job_id: str) -> Job:
    """The job, once its create was answered."""
    async with asyncio.timeout(120):
        while True:
            await lifecycle.advance(api.ctx, job_id)
            job = (await api.ctx.store.jobs.read(job_id)).job
            if job.stage in (Stage.TRACKED, Stage.SETTLED):
                return job
            if job.stage is Stage.UPLOADING and job.training.sha256:
                await copy_step.copy_to_upstream(api.ctx, "openai", job.training.sha256)


async def test_an_upload_for_another_project_is_answered_like_an_unknown_file(api: Api) -> None:
    other = await others_key(api)
    theirs = {"model": BASE, "training_file": await dataset(api, other), "metadata": {"simulate": "stall"}}
    answer = await api.call("POST", "/v1/fine_tuning/jobs", json=theirs, key=other)
    seen = (await advanced(api, answer.json["id"])).seen
    assert seen
    assert seen.training_file
    ends = {}
    for file_id in (seen.training_file, "file-nobody"):
        body = {"model": BASE, "training_file": f"upstream:{file_id}"}
        job_id = (await api.post("/v1/fine_tuning/jobs", body))["id"]
        await advanced(api, job_id)
        job = (await api.call("GET", f"/v1/fine_tuning/jobs/{job_id}")).json
        ends[file_id] = (job["status"], json.dumps(job["error"]).replace(file_id, "NAME"))
    assert ends[seen.training_file][0] == "failed"
    assert len(set(ends.values())) == 1, ends


async def test_a_project_still_trains_on_a_file_of_its_own_account(api: Api) -> None:
    file_id, _ = await at_the_upstream(api)
    job_id = (await api.post("/v1/fine_tuning/jobs", {"model": BASE, "training_file": f"upstream:{file_id}"}))["id"]
    assert (await advanced(api, job_id)).stage is Stage.TRACKED


async def test_a_running_job_of_another_deployment_with_the_same_name_is_not_taken_over(api: Api) -> None:
    own = await api.ctx.mark()
    _, theirs = await at_the_upstream(api, tunehook=f"{api.ctx.instance}.0000aaaa/ftjob-theirs")
    refused = await take_over(api, theirs)
    assert (refused.status, refused.error["code"]) == (409, "job_taken")
    assert "another deployment" in refused.error["message"]
    _, lost = await at_the_upstream(api, tunehook=f"{own}/ftjob-lost")
    assert (await take_over(api, lost)).status == 200
    _, older = await at_the_upstream(api, tunehook=f"{api.ctx.instance}/ftjob-older")
    assert (await take_over(api, older)).status == 200


async def test_new_jobs_bear_the_mark_of_their_store(api: Api) -> None:
    answer = await api.post("/v1/fine_tuning/jobs", {"model": BASE, "training_file": await dataset(api)})
    await advanced(api, answer["id"])
    [there] = await api.simulator.jobs()
    mark = str(await api.ctx.store.redis.get(keys.STORAGE_MARK))[:8]
    assert there["metadata"] == {"tunehook": f"tunehook.{mark}/{answer['id']}"}
