"""A job that too few replicas have confirmed is 503 `commit_unconfirmed`; its repeat finds it, once they do."""

from tests.integration.service.conftest import Api

JOBS = "/v1/fine_tuning/jobs"


async def test_an_unconfirmed_job_is_503_and_its_repeat_finds_it(furnished: Api) -> None:
    store = furnished.ctx.store
    before = {job["id"] for job in (await furnished.call("GET", JOBS)).json["data"]}
    body = {"model": "gpt-4.1-mini-2025-04-14", "training_file": furnished.ids["file_id"]}
    headers = {"Idempotency-Key": "once"}
    store.replicas, store.confirm_seconds = 1, 0.05  # this Redis has none
    for _ in range(2):  # the repeat must not take it for safe either
        answer = await furnished.call("POST", JOBS, json=body, headers=headers)
        assert (answer.status, answer.error["code"]) == (503, "commit_unconfirmed")
        assert "Idempotency-Key" in answer.error["message"]
        assert answer.headers.get("x-should-retry") != "false"
    ready = await furnished.call("GET", "/readyz", key=None)
    assert ready.status == 503
    assert "fewer than 1 replicas confirm" in ready.json["checks"]["redis"]["message"]
    store.replicas = 0
    found = await furnished.call("POST", JOBS, json=body, headers=headers)
    assert found.status == 200
    after = {job["id"] for job in (await furnished.call("GET", JOBS)).json["data"]}
    assert after - before == {found.json["id"]}
