"""The caller's address in logs: a header is believed from a trusted proxy only."""

import logging

import aiohttp
import pytest
from aiohttp import web

from service.app import build_app
from service.client_address import TRUSTED_PROXIES, client_address
from service.connections import listening
from tests.integration.service.conftest import Api
from tests.integration.service.test_scopes import key_with
from tunehook.model.api_key import Scope
from tunehook.setting_values import parse_networks

LOCAL, CLIENT, FORGED = "127.0.0.1", "203.0.113.7", "198.51.100.66"


async def address(trusted: str, *forwarded: str) -> str:
    async def _answer(request: web.Request) -> web.Response:
        return web.Response(text=client_address(request))

    app = web.Application()
    app[TRUSTED_PROXIES] = parse_networks(trusted)
    app.router.add_get("/", _answer)
    headers = [("X-Forwarded-For", text) for text in forwarded]
    async with (
        listening(app, LOCAL, 0, most=10) as [(host, port)],
        aiohttp.ClientSession(f"http://{host}:{port}") as session,
        session.get("/", headers=headers) as answer,
    ):
        return await answer.text()


@pytest.mark.parametrize(
    ("trusted", "forwarded", "expected"),
    [
        ("", [CLIENT], LOCAL),
        ("10.0.0.0/8", [CLIENT], LOCAL),  # this proxy is not named
        (LOCAL, [], LOCAL),
        (LOCAL, [CLIENT], CLIENT),
        ("127.0.0.0/8, 10.0.0.0/8", [f"{CLIENT}, 10.1.2.3"], CLIENT),
        (LOCAL, [f"{FORGED}, {CLIENT}"], CLIENT),  # sent by the client; the proxy has appended
        (LOCAL, [FORGED, CLIENT], CLIENT),  # the same in two headers
        (f"{LOCAL},10.0.0.0/8", [f"10.9.9.9, {CLIENT}, 10.1.2.3"], CLIENT),  # pretends to be a proxy
        (LOCAL, [f"{CLIENT}, nonsense"], LOCAL),
        (LOCAL, ["unknown"], LOCAL),
        (LOCAL, [f"{CLIENT},"], LOCAL),
        (LOCAL, [f"{CLIENT}:4711"], CLIENT),
        (LOCAL, ["[2001:db8::1]:4711"], "2001:db8::1"),
        (LOCAL, ["2001:db8::1"], "2001:db8::1"),
        (LOCAL, [f"::ffff:{CLIENT}"], CLIENT),
        (f"{LOCAL},2001:db8::/32", [f"{CLIENT}, 2001:db8::9"], CLIENT),
        ("0.0.0.0/0", [", ".join(f"10.0.0.{n}" for n in range(200))], "10.0.0.184"),  # the last 16 are read
        (LOCAL, ["fe80::1%\u202e"], LOCAL),  # a zone may be any text
    ],
)  # fmt: skip
async def test_whose_address_counts(trusted: str, forwarded: list[str], expected: str) -> None:
    assert await address(trusted, *forwarded) == expected


async def test_log_lines_have_the_address(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    admin, headers = await key_with(api, Scope.ADMIN), {"x-forwarded-for": CLIENT}
    for trusted, expected in (("", LOCAL), (LOCAL, CLIENT)):
        caplog.clear()
        app = build_app(api.ctx, parse_networks(trusted))
        async with listening(app, LOCAL, 0, most=10) as [(host, port)]:
            api.root = f"http://{host}:{port}"
            answer = await api.call("POST", "/v1/admin/keys", json={"project": "a"}, headers=headers, key=admin)
        assert answer.status == 200
        lines = {record.name: record for record in caplog.records if record.name.startswith("tunehook.")}
        for name in ("tunehook.api", "tunehook.audit"):
            assert lines[name].getMessage().endswith(f", {expected})")
            assert vars(lines[name])["fields"]["client"] == expected
