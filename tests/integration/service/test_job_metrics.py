"""GET …/metrics: from the events, from the result file, after the log was trimmed, and what a long curve takes."""

import csv
import gzip
import io
import math
from collections.abc import Iterable

import aiohttp

from tests.integration.service.conftest import Api
from tunehook.model.job import Message
from tunehook.store.engine import keys


def told(steps: Iterable[int]) -> list[Message]:
    return [
        Message(
            created_at=1,
            message=f"Step {step}: training loss={loss(step):.2f}",
            type="metrics",
            data={"step": step, "total_steps": 10_000, "train_loss": loss(step), "train_mean_token_accuracy": 0.5},
            upstream_event_id=f"ftevent-{step}",
        )
        for step in steps
    ]


def loss(step: int) -> float:
    return 2.8 * math.exp(-step / 3000) + 0.3 * math.sin(step * 12.9898) ** 2


async def test_curves_outlive_the_log_and_take_no_event_twice(furnished: Api) -> None:
    store, job = furnished.ctx.store, furnished.ids["fine_tuning_job_id"]
    path = f"/v1/fine_tuning/jobs/{job}/metrics"
    assert (await furnished.call("GET", path)).json["columns"] == {"step": []}
    await store.job_log.append(job, told(range(1, 40)))
    await store.job_log.append(job, told(range(20, 60)))
    await store.redis.xtrim(keys.job_log(job), maxlen=5, approximate=False)
    await store.job_log.append(job, told(range(60, 62)))
    answer = (await furnished.call("GET", path)).json
    assert answer["last_step"] == 61
    assert answer["columns"]["step"] == list(range(1, 62))
    assert answer["columns"]["train_loss"][4] == float(f"{loss(5):.6g}")
    more = (await furnished.call("GET", path + "?after_step=59")).json
    assert more["columns"] == {name: values[-2:] for name, values in answer["columns"].items()}
    filled = b"step,train_loss,valid_loss\n" + b"".join(b"%d,9.5,1.5\n" % step for step in range(60, 64))
    assert await store.job_metrics.fill(job, filled) == 4
    assert await store.job_metrics.fill(job, filled) == 0
    columns = (await furnished.call("GET", path + "?after_step=60")).json["columns"]
    assert columns["valid_loss"] == [1.5] * 3
    assert columns["train_loss"] == [float(f"{loss(61):.6g}"), 9.5, 9.5]


async def test_events_that_an_earlier_version_read_count(furnished: Api) -> None:
    store, job = furnished.ctx.store, furnished.ids["fine_tuning_job_id"]
    path = f"/v1/fine_tuning/jobs/{job}/metrics"
    await store.job_log.append(job, told(range(1, 10)))
    await store.redis.delete(keys.job_metrics(job))
    before = (await furnished.call("GET", path)).json
    assert before["columns"]["step"] == list(range(1, 10))
    await store.job_log.append(job, told(range(8, 12)))
    assert (await furnished.call("GET", path)).json["columns"]["step"] == list(range(1, 12))


async def test_a_curve_of_ten_thousand_steps_is_one_small_answer(furnished: Api) -> None:
    store, job = furnished.ctx.store, furnished.ids["fine_tuning_job_id"]
    path = f"/v1/fine_tuning/jobs/{job}/metrics"
    rows = "step,train_loss,train_accuracy,valid_loss\n" + "".join(
        f"{step},{loss(step)},{1 - loss(step) / 4},{loss(step + 1) if step % 10 == 0 else ''}\n"
        for step in range(1, 10_001)
    )
    await store.job_metrics.fill(job, rows.encode())
    headers = {"authorization": f"Bearer {furnished.key}", "accept-encoding": "gzip", "accept": "text/csv, */*;q=0.1"}
    async with (
        aiohttp.ClientSession(auto_decompress=False) as plain,
        plain.get(furnished.root + path, headers=headers) as table,
        plain.get(furnished.root + path, headers=headers | {"accept": "application/json"}) as columns,
    ):
        assert table.headers["content-type"] == "text/csv; charset=utf-8"
        packed = [await table.read(), await columns.read()]
    assert all(len(body) <= 200_000 for body in packed), list(map(len, packed))
    lines = list(csv.reader(io.StringIO(gzip.decompress(packed[0]).decode())))
    assert len(lines) == 10_001
    assert lines[10][:2] == ["10", f"{float(f'{loss(10):.6g}')}"]


async def test_metrics_of_another_project_and_wrong_steps(furnished: Api) -> None:
    path = f"/v1/fine_tuning/jobs/{furnished.ids['fine_tuning_job_id']}/metrics"
    assert (await furnished.call("GET", path + "?after=3")).error["message"].endswith("Did you mean after_step?")
    assert (await furnished.call("GET", path + "?after_step=-3")).status == 400
    assert (await furnished.call("GET", path.replace("ftjob-", "ftjob-x"))).status == 404
