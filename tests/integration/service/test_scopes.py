"""What a key may do: scopes, expiry dates, last use, and keys for keys."""

import asyncio
import time
from typing import Any

import pytest

from service.app import ROUTES
from service.scopes import scope_of
from tests.integration.service.conftest import Api, form
from tunehook import api_keys
from tunehook.model.api_key import Scope
from tunehook.model.project import day_of

KEYS = "/v1/admin/keys"
JOBS = "/v1/fine_tuning/jobs"


async def key_with(api: Api, *scopes: Scope, expires_at: int | None = None) -> str:
    key, _ = await api_keys.create(
        api.ctx.store, api.ctx.webhooks.encryption, project="tests", name="n", scopes=scopes, expires_at=expires_at
    )
    return key


async def test_every_route_without_its_scope_is_403_and_names_it(furnished: Api) -> None:
    keys = {scope: await key_with(furnished, *(other for other in Scope if other not in (scope, Scope.ADMIN)))
            for scope in Scope}  # fmt: skip
    ids = furnished.ids | {"key_id": "000000"}
    for route in ROUTES:
        if not route.path.startswith("/v1/") or route.path.startswith("/v1/upstreams/"):
            continue
        scope = scope_of(route.method, route.path)
        answer = await furnished.call(route.method, route.path.format_map(_Ids(ids)), key=keys[scope])
        assert (answer.status, answer.error["code"]) == (403, "missing_scope"), route
        assert f"'{scope.value}'" in answer.error["message"]


class _Ids(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "unknown"


async def test_a_read_key_looks_and_follows_but_changes_nothing(furnished: Api) -> None:
    key = await key_with(furnished, Scope.READ)
    job = furnished.path(JOBS + "/{fine_tuning_job_id}")
    for path in (job, JOBS, "/v1/files", "/v1/models", "/v1/webhook_endpoints", job + "/events", job + "/deliveries"):
        assert (await furnished.call("GET", path, key=key)).status == 200, path
    headers = {"authorization": f"Bearer {key}", "accept": "text/event-stream"}
    async with furnished.session.get(furnished.root + job + "/events", headers=headers) as stream:
        assert stream.status == 200
        assert (await stream.content.readline()).startswith(b"id: ")
    assert (await furnished.call("POST", "/v1/files", data=form(), key=key)).status == 403
    body = {"model": "gpt-4.1-mini-2025-04-14", "training_file": furnished.ids["file_id"]}
    assert (await furnished.call("POST", JOBS + "/estimate", json=body, key=key)).status == 200
    assert (
        await furnished.call("POST", JOBS, json=body | {"callback_url": "http://127.0.0.1:9/"}, key=key)
    ).status == 403


async def test_an_admin_key_opens_administration_alone(api: Api) -> None:
    admin = await key_with(api, Scope.ADMIN)
    answer = await api.call("GET", JOBS, key=admin)
    assert (answer.status, answer.error["code"]) == (403, "missing_scope")
    assert "/v1/admin/*" in answer.error["message"]
    assert (await api.call("GET", KEYS)).status == 403
    assert (await api.call("GET", KEYS, key=admin)).status == 200
    assert "" not in await api.ctx.store.api_keys.projects()


async def made(api: Api, admin: str, **members: Any) -> Any:
    answer = await api.call("POST", KEYS, json=members, key=admin)
    assert answer.status == 200, answer.body
    return answer.json


async def test_keys_are_made_listed_changed_rotated_and_revoked(api: Api) -> None:
    admin = await key_with(api, Scope.ADMIN)
    new = await made(api, admin, project="search", name="report", scopes=["chat", "read", "chat"])
    assert (new["scopes"], new["state"], new["last_used_on"]) == (["read", "chat"], "active", None)
    one = f"{KEYS}/{new['id']}"
    assert (await api.call("GET", JOBS, key=new["key"])).status == 200
    listed = (await api.call("GET", f"{KEYS}?project=search", key=admin)).json["data"]
    assert [(key["id"], key["last_used_on"]) for key in listed] == [(new["id"], day_of(time.time()))]
    assert new["key"].split("_", 2)[2] not in str(listed)

    changed = await api.call("POST", one, json={"name": "chat", "scopes": ["chat"]}, key=admin)
    assert (changed.json["name"], changed.json["scopes"]) == ("chat", ["chat"])
    assert (await api.call("GET", JOBS, key=new["key"])).status == 403
    await api.call("POST", one, json={"scopes": ["read"]}, key=admin)

    kept = await api.call("POST", one + "/rotate", json={"keep_old_secret_active_for_24_hours": True}, key=admin)
    assert kept.json["old_key_active_until"] > time.time() + 86000
    for key in (new["key"], kept.json["key"]):
        assert (await api.call("GET", JOBS, key=key)).status == 200
    last = await api.call("POST", one + "/rotate", key=admin)
    assert (await api.call("GET", JOBS, key=kept.json["key"])).status == 401
    assert (await api.call("GET", JOBS, key=last.json["key"])).status == 200

    assert (await api.call("DELETE", one, key=admin)).json["state"] == "revoked"
    assert (await api.call("GET", JOBS, key=last.json["key"])).status == 401
    assert (await api.call("POST", one + "/rotate", key=admin)).status == 400
    assert (await api.call("GET", f"{KEYS}/000000", key=admin)).error["code"] == "key_not_found"


async def test_a_key_is_refused_from_its_expiry_date_on_and_its_streams_end(furnished: Api) -> None:
    admin = await key_with(furnished, Scope.ADMIN)
    key = await key_with(furnished, Scope.READ, expires_at=int(time.time()) + 3600)
    job = furnished.path(JOBS + "/{fine_tuning_job_id}")
    headers = {"authorization": f"Bearer {key}", "accept": "text/event-stream"}
    async with furnished.session.get(furnished.root + job + "/events", headers=headers) as stream:
        found = await api_keys.find(furnished.ctx.store, key)
        over = found.model_copy(update={"expires_at": int(time.time()) - 1})
        await furnished.ctx.store.api_keys.replace(found, over)
        answer = await furnished.call("GET", JOBS, key=key)
        assert answer.status == 401
        assert f"expired on {day_of(time.time())}" in answer.error["message"]
        async with asyncio.timeout(60):
            await stream.content.read()
    renewed = await furnished.call("POST", f"{KEYS}/{found.id}", json={"expires_at": None}, key=admin)
    assert (renewed.json["state"], renewed.json["expires_at"]) == ("active", None)
    assert (await furnished.call("GET", JOBS, key=key)).status == 200


async def test_streams_end_that_their_key_would_not_open_again(furnished: Api) -> None:
    store, pull = (
        furnished.ctx.store,
        await furnished.post(
            "/v1/webhook_endpoints", {"url": "pull:here", "name": "here", "event_types": ["fine_tuning.job.succeeded"]}
        ),
    )
    paths = (
        furnished.path(JOBS + "/{fine_tuning_job_id}/events"),
        "/v1/events",
        f"/v1/webhook_endpoints/{pull['id']}/stream",
    )

    async def ends(path: str, how: str) -> None:
        key = await key_with(furnished, Scope.READ, Scope.WEBHOOKS)
        headers = {"authorization": f"Bearer {key}", "accept": "text/event-stream"}
        async with furnished.session.get(furnished.root + path, headers=headers) as stream:
            assert stream.status == 200, path
            if how == "scope":
                await api_keys.change(store, key, scopes=[Scope.CHAT])
            elif how == "rotation":
                await api_keys.rotate(store, key, keep_old=False, now=int(time.time()))
            else:
                found = await api_keys.find(store, key)
                await store.api_keys.replace(found, found.model_copy(update={"expires_at": int(time.time())}))
            async with asyncio.timeout(90):
                await stream.content.read()

    await asyncio.gather(*(ends(path, how) for path in paths for how in ("scope", "rotation", "expiry")))


async def test_a_name_makes_up_no_line_of_the_audit(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "tunehook.audit")
    await made(api, await key_with(api, Scope.ADMIN), project="p", name="a\nkey revoked: b\u2028c")
    [line] = [record.getMessage() for record in caplog.records if record.name == "tunehook.audit"]
    assert "a\\u000akey revoked: b\\u2028c" in line
    assert len(line.splitlines()) == 1


async def test_a_wrong_wish_for_a_key_is_400(api: Api) -> None:
    admin = await key_with(api, Scope.ADMIN)
    wrong: list[dict[str, Any]] = [
        {},
        {"project": "p", "scopes": []},
        {"project": "p", "scopes": ["everything"]},
        {"project": "p", "scopes": ["admin"]},
        {"scopes": ["admin", "read"]},
        {"project": "p:with:x"},
        {"project": "p", "expires_at": 1},
        {"project": "p", "name": None},
        {"project": "p", "colour": "red"},
    ]
    for body in wrong:
        assert (await api.call("POST", KEYS, json=body, key=admin)).status == 400, body
    key = await made(api, admin, project="p")
    for body in ({"scopes": ["admin"]}, {"scopes": []}, {"project": "q"}, {"expires_at": 1}):
        assert (await api.call("POST", f"{KEYS}/{key['id']}", json=body, key=admin)).status == 400, body


async def test_the_day_of_use_is_written_once_a_day(api: Api) -> None:
    redis = api.ctx.store.redis
    await api.call("GET", JOBS)
    await redis.config_resetstat()
    for _ in range(3):
        await api.call("GET", JOBS)
    assert "cmdstat_hset" not in await redis.info("commandstats")
