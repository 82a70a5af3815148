"""A job on a model that is shut down soon says so in its log."""

from dataclasses import replace
from datetime import date, timedelta

from tests.integration.service.conftest import Api, form
from tests.integration.service.test_tenants import BASE, DATASET
from tunehook.jobs import submission
from tunehook.model.api_key import ApiKey


async def warnings(api: Api, days: int) -> list[str]:
    rows = [replace(row, shutdown_date=date.today() + timedelta(days=days)) for row in api.ctx.prices.rows]  # noqa: DTZ011
    ctx = replace(api.ctx, prices=replace(api.ctx.prices, rows=tuple(rows)))
    answer = await api.call("POST", "/v1/files", data=form(content=DATASET))
    caller = ApiKey(id="k", project="tests", name="n", secret_sha256="", callback_secret="", created_at=1)
    body = {"model": BASE, "training_file": answer.json["id"]}
    record = await submission.submit(ctx, caller, body, idempotency_key=None, sdk_retry=False)
    log = await api.call("GET", f"/v1/fine_tuning/jobs/{record.job.id}/events")
    return [entry["message"] for entry in log.json["data"] if entry["level"] == "warn"]


async def test_a_shutdown_within_three_months_is_in_the_jobs_log(api: Api) -> None:
    [warning] = await warnings(api, 30)
    assert warning.startswith(f"{BASE} and all models tuned from it shut down on")
    assert await warnings(api, 300) == []
