"""Durations of requests in /metrics: by route and not by path, so that callers cannot make series."""

from prometheus_client.parser import text_string_to_metric_families

from tests.integration.service.conftest import Api


async def counted(api: Api) -> dict[tuple[str, str, str], float]:
    """Returns (method, route, status) → requests."""
    text = (await api.call("GET", "/metrics", key=None)).body.decode()
    [family] = [one for one in text_string_to_metric_families(text) if one.name == "tunehook_request_duration_seconds"]
    rows = [sample for sample in family.samples if sample.name.endswith("_count")]
    return {
        (row.labels["method"], row.labels["route"], row.labels["status"]): row.value
        for row in rows
        if row.labels["route"] != "/metrics"
    }


async def test_requests_are_counted_by_route_and_class_of_status(api: Api) -> None:
    job = "/v1/fine_tuning/jobs/{fine_tuning_job_id}"
    for number in range(3):
        await api.call("GET", f"/v1/fine_tuning/jobs/ftjob-{number}")
    await api.call("GET", "/v1/fine_tuning/jobs")
    await api.call("GET", "/v1/fine_tuning/jobs", key="th_wrong")
    assert await counted(api) == {
        ("GET", job, "4xx"): 3,
        ("GET", "/v1/fine_tuning/jobs", "2xx"): 1,
        ("GET", "/v1/fine_tuning/jobs", "4xx"): 1,
    }


async def test_paths_and_methods_that_do_not_exist_are_one_series(api: Api) -> None:
    for name in ("A", "B", "C"):
        async with api.session.get(f"{api.root}/nothing/{name}") as answer:
            assert answer.status == 404
        async with api.session.patch(f"{api.root}/v1/files", headers={"x-name": name}) as answer:
            assert answer.status == 405
    assert await counted(api) == {("other", "other", "4xx"): 6}


async def test_a_request_that_waits_for_a_change_is_left_out(furnished: Api) -> None:
    before = await counted(furnished)
    job = furnished.path("/v1/fine_tuning/jobs/{fine_tuning_job_id}")
    await furnished.call("GET", job + "?wait=1")
    events = job + "/events"
    async with furnished.session.get(
        furnished.root + events,
        headers={"authorization": f"Bearer {furnished.key}", "accept": "text/event-stream"},
    ) as stream:
        assert stream.content_type == "text/event-stream"
    assert await counted(furnished) == before
