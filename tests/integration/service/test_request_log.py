"""One line for each request that changes something or fails: whose it was, and what became of it."""

import logging
from typing import Any

import pytest

from tests.integration.service.conftest import Api


async def line(api: Api, caplog: pytest.LogCaptureFixture, method: str, path: str, **options: Any) -> tuple[str, Any]:
    """Text and fields of the one line that a request leaves."""
    caplog.set_level(logging.INFO)
    caplog.clear()
    await api.call(method, path, **options)
    (record,) = [record for record in caplog.records if record.name == "tunehook.api"]
    return record.getMessage(), vars(record)["fields"]


async def test_what_a_line_says(furnished: Api, caplog: pytest.LogCaptureFixture) -> None:
    whose, key = f"tests/{furnished.key.split('_')[1]}", furnished.key.split("_")[1]
    body = {"model": "gpt-4.1-mini-2025-04-14", "training_file": furnished.ids["file_id"]}
    jobs, job_id = "/v1/fine_tuning/jobs", furnished.ids["fine_tuning_job_id"]

    text, fields = await line(furnished, caplog, "POST", jobs, json=body)
    assert text.startswith("POST /v1/fine_tuning/jobs → 200 ftjob-")
    assert whose in text
    assert fields["job"].startswith("ftjob-")
    assert (fields["status"], fields["project"], fields["key"]) == (200, "tests", key)

    text, fields = await line(furnished, caplog, "POST", jobs, json=body | {"n_epoch": 1})
    assert text.startswith("POST /v1/fine_tuning/jobs → 400 unknown_parameter in ")
    assert (fields["status"], fields["code"], fields["project"]) == (400, "unknown_parameter", "tests")

    text, fields = await line(furnished, caplog, "POST", f"{jobs}/{job_id}/cancel")
    assert text.startswith(f"POST {jobs}/{job_id}/cancel → 200 in ")
    assert fields["job"] == job_id

    text, fields = await line(furnished, caplog, "GET", "/v1/files", key="nonsense")
    assert text.startswith("GET /v1/files → 401 invalid_api_key in ")
    assert "project" not in fields

    text, fields = await line(furnished, caplog, "GET", "/v1/files/file-unknown")
    assert text.startswith("GET /v1/files/file-unknown → 404 file_not_found in ")

    caplog.clear()
    for path in ("/livez", "/v1/files", f"{jobs}/{job_id}"):
        assert (await furnished.call("GET", path)).status == 200
    assert not [record for record in caplog.records if record.name == "tunehook.api"]
