"""Bad input of any kind: a 4xx with a sentence that helps, never a 5xx, never a half-made record."""

import asyncio
import io
import json
import re
from typing import Any

import pytest

from service.app import ROUTES
from tests.contract.checker import Contract
from tests.integration.service.conftest import DATASET, Api

BODIES: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \r\n",
    "half": b'{"model": ',
    "no json": b"model=gpt-4.1-mini",
    "not utf-8": b'{"model": "\xff\xfe"}',
    "utf-16": '{"model": "a"}'.encode("utf-16"),
    "with a BOM": b'\xef\xbb\xbf{"model": "a"}',
    "nan": b'{"model": NaN}',
    "infinity": b'{"seed": -Infinity}',
    "huge exponent": b'{"seed": 1e999}',
    "5,000 digits": b'{"seed": ' + b"9" * 5000 + b"}",
    "duplicate keys": b'{"model": "a", "model": "b"}',
    "lone surrogate": b'{"model": "\\ud800"}',
    "very deep": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "deep arrays": b"[" * 100_000,
    "an array": b"[]",
    "a string": b'"model"',
    "null": b"null",
    "a number": b"1",
    "unknown member": b'{"surprise": {"__proto__": 1}}',
    "wrong types": json.dumps(
        {name: {"x": [1]} for name in ("model", "training_file", "url", "filename", "bytes", "messages", "grader")}
    ).encode(),
    "nul": b'{"model": "a\\u0000b", "training_file": "\\u0000"}',
    "more than a MiB": b'{"model": "' + b"a" * 1_100_000 + b'"}',
}
QUERIES = [
    "limit=x", "limit=0", "limit=-1", "limit=1000000", "limit=1e3", "limit=9999999999999999999999", "limit=%D9%A3",
    "limit=", "after=unknown", "after=", "after=%00", "after=%ff%fe", "after=" + "a" * 3000, "order=up", "surprise=1",
    "metadata=x", "metadata[]=x", "metadata[a]=%00", "metadata%5B=1", "purpose=%ff", "limit=1&limit=2", "%ff=%fe",
    "after=ftevent-", "after=ftevent-1-1-1", "after=ftevent-99999999999999999999999-0", "after=ftevent-%D9%A3-0",
    "wait=x", "wait=-1",
]  # fmt: skip


def takes_json(contract: Contract, method: str, path: str) -> bool:
    operation = contract.document["paths"][path][method.lower()]
    if not operation.get("requestBody", {}).get("required"):
        return False
    _, body = contract.resolve(("paths", path, method.lower(), "requestBody"))
    return "application/json" in body["content"]


async def everything_that_is(api: Api) -> dict[str, Any]:
    """What lists show: bad requests leave nothing behind. A job's estimate comes by itself, some time after it."""
    lists = ("/v1/files", "/v1/fine_tuning/jobs", "/v1/webhook_endpoints")
    found = {path: (await api.call("GET", path)).json["data"] for path in lists}
    for job in found["/v1/fine_tuning/jobs"]:
        del job["tunehook"]["estimate"]
    return found


@pytest.mark.parametrize("kind", BODIES)
async def test_no_body_that_is_wrong_is_taken_or_breaks_anything(furnished: Api, contract: Contract, kind: str) -> None:
    before = await everything_that_is(furnished)
    tried = 0
    for method, template, *_ in ROUTES:
        if not takes_json(contract, method, template):
            continue
        path = furnished.path(template)
        answer = await furnished.call(
            method, path, data=io.BytesIO(BODIES[kind]), headers={"content-type": "application/json"}
        )
        assert 400 <= answer.status < 500, (path, answer)
        assert answer.error["message"]
        tried += 1
    assert tried >= 9
    assert await everything_that_is(furnished) == before


LONG = "9" * 4000
DEEP = "[" * 180 + "]" * 180
GRADER = '{"type": "multi", "name": "g", "graders": %s, "weight": %s}'


@pytest.mark.parametrize(
    "members",
    [
        f'"seed": {LONG}',
        *(
            f'"hyperparameters": {{"{name}": {LONG}}}'
            for name in ("learning_rate_multiplier", "n_epochs", "batch_size")
        ),
        *(f'"method": {{"type": "dpo", "dpo": {{"hyperparameters": {{"beta": {n}}}}}}}' for n in (LONG, f"-{LONG}")),
        f'"tunehook": {{"max_cost_usd": {LONG}}}',
        f'"metadata": {DEEP}',
        *(
            f'"method": {{"type": "reinforcement", "reinforcement": {{"grader": {GRADER % grader}}}}}'
            for grader in ((DEEP, "1"), ("{}", LONG))
        ),
    ],
)
async def test_long_numbers_and_deep_members_break_nothing(furnished: Api, members: str) -> None:
    body = f'{{"model": "gpt-4.1-mini-2025-04-14", "training_file": "{furnished.ids["file_id"]}", {members}}}'
    for path in ("/v1/fine_tuning/jobs", "/v1/fine_tuning/jobs/estimate"):
        answer = await furnished.call("POST", path, data=body, headers={"content-type": "application/json"})
        assert answer.status < 500, answer
        assert len(answer.body) < 20_000
    assert (await furnished.call("GET", "/v1/fine_tuning/jobs")).status == 200


#: Answers that do not end.
STREAMS = ("/stream", "/v1/events")


@pytest.mark.parametrize("kind", ["half", "not utf-8", "very deep", "wrong types", "more than a MiB"])
async def test_routes_without_a_body_are_not_disturbed_by_one(furnished: Api, contract: Contract, kind: str) -> None:
    for method, template, *_ in ROUTES:
        if method == "DELETE" or takes_json(contract, method, template) or template.endswith(STREAMS):
            continue
        answer = await furnished.call(
            method,
            furnished.path(template),
            data=io.BytesIO(BODIES[kind]),
            headers={"content-type": "application/json"},
        )
        assert answer.status < 500, (template, answer)


@pytest.mark.parametrize("query", QUERIES)
async def test_no_query_breaks_anything(furnished: Api, query: str) -> None:
    for method, template, *_ in ROUTES:
        if method != "GET":
            continue
        answer = await furnished.call(method, f"{furnished.path(template)}?{query}")
        assert answer.status < 500, (template, answer)


@pytest.mark.parametrize("query", ["limit=x", "limit=0", "limit=-1", "surprise=1", "after=unknown", "limit=%D9%A3"])
async def test_lists_say_what_is_wrong_with_a_query(furnished: Api, query: str) -> None:
    for path in (
        "/v1/files",
        "/v1/fine_tuning/jobs",
        f"/v1/fine_tuning/jobs/{furnished.ids['fine_tuning_job_id']}/events",
    ):
        answer = await furnished.call("GET", f"{path}?{query}")
        assert answer.status in (400, 404), (path, answer)
        assert answer.error["message"]


async def test_without_a_good_key_nobody_gets_anywhere(furnished: Api) -> None:
    wrong = [
        None,
        "nonsense",
        "th_unknown00_" + "a" * 43,
        furnished.key[:-1] + ("a" if furnished.key[-1] != "a" else "b"),
        furnished.key + "a",
        "\u00e9" * 60,
    ]
    for method, template, *_ in ROUTES:
        if not template.startswith("/v1/") or template.startswith("/v1/upstreams/"):
            continue
        for key in wrong:
            answer = await furnished.call(method, furnished.path(template), key=key)
            assert answer.status == 401, (template, key)
            assert answer.error["code"] == "invalid_api_key"
            assert answer.headers["www-authenticate"] == "Bearer"
            assert furnished.key not in answer.body.decode()
    for header in ("Basic dXNlcjpwYXNz", "Bearer", "Bearer  ", furnished.key):
        answer = await furnished.call("GET", "/v1/files", headers={"authorization": header})
        assert answer.status == 401


@pytest.mark.parametrize(
    "path",
    [
        "/v1",
        "/v1/",
        "/v1/nothing",
        "/nothing",
        "/v1/files/a/b/c",
        "/v1//files",
        "/v1/files/%2e%2e/livez",
        "/%ff",
        "/v1/%00",
    ],
)
async def test_unknown_paths_are_404_in_the_usual_shape(api: Api, path: str) -> None:
    answer = await api.call("GET", path)
    assert answer.status == 404
    assert answer.error["message"]


async def test_other_methods_are_405_and_say_which_there_are(furnished: Api) -> None:
    tried = 0
    for template in {template for _, template, *_ in ROUTES}:
        path = furnished.path(template)
        there = {method for method, other, *_ in ROUTES if matches(other, path)}
        for method in {"GET", "POST", "PUT", "DELETE", "PATCH"} - there:
            answer = await furnished.call(method, path)
            assert answer.status == 405, (method, path)
            assert set(answer.headers["allow"].split(", ")) - {"HEAD"} == there
            tried += 1
    assert tried > 50


def matches(template: str, path: str) -> bool:
    """The paths `/jobs/import` and `/jobs/estimate` are no job's."""
    return re.fullmatch(re.sub(r"\{[^}]+\}", "(?!(?:import|estimate)$)[^/]+", template), path) is not None


@pytest.mark.parametrize("content_type", ["text/html", "multipart/form-data", "application/xml", "nonsense"])
async def test_other_content_types_are_refused(furnished: Api, content_type: str) -> None:
    answer = await furnished.call("POST", "/v1/fine_tuning/jobs", data=b"{}", headers={"content-type": content_type})
    assert answer.status in (400, 415)
    assert answer.error["message"]


async def test_a_compressed_body_is_refused(furnished: Api) -> None:
    answer = await furnished.call(
        "POST",
        "/v1/fine_tuning/jobs",
        data=b"\x1f\x8b\x08\x00nonsense",
        headers={"content-type": "application/json", "content-encoding": "gzip"},
    )
    assert 400 <= answer.status < 500
    assert answer.error["message"]


@pytest.mark.parametrize("key", ["", "k" * 256, "\u00fc" * 300])
async def test_idempotency_keys_have_a_length(furnished: Api, key: str) -> None:
    body = {"model": "gpt-4.1-mini-2025-04-14", "training_file": furnished.ids["file_id"]}
    answer = await furnished.call("POST", "/v1/fine_tuning/jobs", json=body, headers={"idempotency-key": key})
    assert answer.status == 400
    assert answer.error["param"] == "Idempotency-Key"


NOT_UTF_8 = [b"\xff", b"\xc3", b"k\x80", b"\xed\xa0\x80"]


@pytest.mark.parametrize("odd", NOT_UTF_8)
async def test_bytes_that_are_not_utf_8_are_refused_wherever_they_are_read(furnished: Api, odd: bytes) -> None:
    read = (b"Idempotency-Key", b"Last-Event-ID", b"webhook-id", b"webhook-timestamp", b"webhook-signature")
    for method, template, *_ in ROUTES:
        path = furnished.path(template).encode()
        targets = [path + b"/" + odd, path[:-1] + odd, path + b"?" + odd + b"=1", path + b"?after=" + odd]
        for target in targets:
            await refused(furnished, method, target, {})
    for method, template in (
        ("POST", "/v1/fine_tuning/jobs"),
        ("GET", "/v1/files"),
        ("POST", "/v1/upstreams/o/events"),
    ):
        for name in read:
            answer = await refused(furnished, method, template.encode(), {name: odd})
            assert answer["error"]["param"] == name.decode()
    assert (await raw(furnished, "GET", b"/v1/files", {b"User-Agent": odd, b"X-City": odd}))[0] == 200


async def refused(api: Api, method: str, target: bytes, headers: dict[bytes, bytes]) -> Any:
    status, body = await raw(api, method, target, headers)
    assert status == 400, (method, target, headers, status, body)
    return json.loads(body.decode())


async def raw(api: Api, method: str, target: bytes, headers: dict[bytes, bytes]) -> tuple[int, bytes]:
    """Status and body of a request that no client would send."""
    host, _, port = api.root.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    usual = {
        b"Host": b"a",
        b"Connection": b"close",
        b"Authorization": f"Bearer {api.key}".encode(),
        b"Content-Length": b"2",
        b"Content-Type": b"application/json",
    }
    lines = b"".join(name + b": " + text + b"\r\n" for name, text in (usual | headers).items())
    writer.write(method.encode() + b" " + target + b" HTTP/1.1\r\n" + lines + b"\r\n{}")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split(maxsplit=2)[1]), body


@pytest.mark.parametrize("odd", NOT_UTF_8)
async def test_a_field_of_odd_bytes_is_answered_in_utf_8(api: Api, odd: bytes) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="' + odd + b'"\r\n\r\nx\r\n--b--\r\n'
    answer = await api.call("POST", "/v1/files", data=body, headers={"content-type": "multipart/form-data; boundary=b"})
    assert answer.status == 400
    assert "\\ud" not in answer.body.decode()
    json.loads(answer.body)["error"]["message"].encode()


JOBS, ENDPOINT = "/v1/fine_tuning/jobs", "/v1/webhook_endpoints/{webhook_endpoint_id}"
#: Members that have a type in the contract, and no null there.
NOT_NULL = [
    (JOBS, {"method": {"type": "dpo", "dpo": None}}, "method.dpo"),
    (JOBS, {"method": {"type": "dpo", "dpo": {"hyperparameters": {"beta": None}}}}, "method.dpo.hyperparameters.beta"),
    *(
        (path, {"hyperparameters": {"n_epochs": None}}, "hyperparameters.n_epochs")
        for path in (JOBS, JOBS + "/estimate")
    ),
    (JOBS, {"tunehook": {"upstream": None}}, "tunehook.upstream"),
    (JOBS, {"tunehook": {"max_cost_usd": None}}, "tunehook.max_cost_usd"),
    ("/v1/webhook_endpoints", {"name": "n", "url": "https://example.com/h", "event_types": None}, "event_types"),
    *((ENDPOINT, {name: None}, name) for name in ("event_types", "url", "name")),
    (ENDPOINT + "/rotate_secret", {"keep_old_secret_active_for_24_hours": None}, "keep_old_secret_active_for_24_hours"),
    (
        "/v1/callback_secret/rotate",
        {"keep_old_secret_active_for_24_hours": None},
        "keep_old_secret_active_for_24_hours",
    ),
    (
        "/v1/uploads",
        {"filename": "a", "bytes": 1, "purpose": "fine-tune", "mime_type": "a", "expires_after": None},
        "expires_after",
    ),
    ("/v1/uploads/{upload_id}/complete", {"part_ids": ["part_a"], "md5": None}, "md5"),
    ("/v1/fine_tuning/alpha/graders/validate", {"grader": {}, "tunehook": None}, "tunehook"),
    ("/v1/fine_tuning/alpha/graders/run", {"grader": {}, "model_sample": "a", "item": None}, "item"),
]


@pytest.mark.parametrize(("path", "members", "param"), NOT_NULL)
async def test_null_is_refused_where_the_contract_has_a_type(
    furnished: Api, path: str, members: dict[str, Any], param: str
) -> None:
    job = (
        {"model": "gpt-4.1-mini-2025-04-14", "training_file": furnished.ids["file_id"]} if path.startswith(JOBS) else {}
    )
    answer = await furnished.call("POST", furnished.path(path), json=job | members)
    assert (answer.status, answer.error["param"]) == (400, param)
    assert "null" in answer.error["message"] or "left out" in answer.error["message"]


async def test_null_is_taken_where_the_contract_has_it(furnished: Api) -> None:
    nullable = ("validation_file", "suffix", "seed", "integrations", "metadata", "callback_url", "tunehook", "method")
    body = {"model": "gpt-4.1-mini-2025-04-14", "training_file": furnished.ids["file_id"]}
    await furnished.post(JOBS, body | dict.fromkeys(nullable))


@pytest.mark.parametrize("name", ["estimate", "import"])
async def test_a_path_beside_the_jobs_is_no_job(furnished: Api, name: str) -> None:
    for method in ("GET", "DELETE", "PUT"):
        answer = await furnished.call(method, f"{JOBS}/{name}")
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert (await furnished.call("GET", f"{JOBS}/{name}/events")).error["code"] == "fine_tune_not_found"
    assert (await furnished.call("GET", f"{JOBS}/{name}s")).error["code"] == "fine_tune_not_found"


@pytest.mark.parametrize(
    "headers",
    [
        {"range": "bytes=0-9"}, {"range": "bytes=999999-"}, {"range": "nonsense"}, {"if-match": '"x"'},
        {"if-none-match": "*"}, {"if-modified-since": "Fri, 01 Jan 2100 00:00:00 GMT"},
        {"if-unmodified-since": "Mon, 01 Jan 1990 00:00:00 GMT"}, {"if-range": '"x"', "range": "bytes=0-9"},
    ],
)  # fmt: skip
async def test_content_comes_whole_whatever_part_is_asked_for(furnished: Api, headers: dict[str, str]) -> None:
    answer = await furnished.call("GET", f"/v1/files/{furnished.ids['file_id']}/content", headers=headers)
    assert (answer.status, answer.body) == (200, DATASET)
    assert answer.headers["content-length"] == str(len(DATASET))


async def test_a_dataset_names_few_columns(api: Api) -> None:
    """Each name is looked for in each row: 100,000 of both took hours, and one request is built at a time."""
    body = {"pairs": [["q", "a"]], "question": ",".join(f"c{n}" for n in range(20_000))}
    answer = await api.call("POST", "/v1/datasets", json=body)
    assert (answer.status, answer.json["error"]["param"]) == (400, "question")


async def test_a_filter_that_is_near_a_known_value_is_asked_for_it(api: Api) -> None:
    answer = await api.call("GET", "/v1/fine_tuning/jobs?status=runing")
    assert answer.json["error"]["message"].endswith("validating_files. Did you mean running?")
