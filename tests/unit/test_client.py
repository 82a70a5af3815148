"""`tunehook.client`: its types are the contract's, and it needs no package but our own."""

import ast
import base64
import hmac
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any, get_type_hints

import pytest

from tests.contract.checker import Contract
from tunehook import client
from tunehook.security import signature

ROOT = Path(__file__).parents[2]
SCHEMAS = ("components", "schemas")


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        (client.JobTunehook, ("JobTunehook",)),
        (client.Cost, ("JobCost",)),
        (client.Waiting, ("JobWaiting",)),
        (client.ModelState, ("JobTunehook", "properties", "model", "anyOf", "1")),
    ],
)
def test_a_type_has_the_members_that_the_contract_has(kind: Any, place: tuple[str, ...], contract: Contract) -> None:
    schema: dict[str, Any] = contract.resolve((*SCHEMAS, *place))[1]
    assert set(get_type_hints(kind)) == set(schema["properties"])
    assert kind.__required_keys__ == set(schema["required"])


def test_it_is_one_small_module_of_the_standard_library() -> None:
    text = (ROOT / "tunehook" / "client.py").read_text()
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else alias.name) or ""
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names
    assert text.count("\n") <= 150


def test_options_and_the_member_of_a_job() -> None:
    assert client.options() == {}
    body = client.options(callback_url="https://you.example/hooks", max_cost_usd=5, upstream=None)
    assert body == {"callback_url": "https://you.example/hooks", "tunehook": {"max_cost_usd": 5}}
    assert client.of({"tunehook": {"stage": "settled"}})["stage"] == "settled"
    with pytest.raises(TypeError, match="did not come from a Tunehook"):
        client.of({"id": "ftjob-1"})


def test_a_webhook_is_verified_as_the_libraries_do() -> None:
    secret, other, body = signature.new_secret(), signature.new_secret(), b'{"type": "x"}'
    headers = {
        name.title(): text for name, text in signature.sign([other, secret], "evt_1", int(time.time()), body).items()
    }
    assert client.verify(body, headers, secret) == json.loads(body)
    old = signature.sign([secret], "evt_1", int(time.time()) - 400, body)
    for given in (headers | {"Webhook-Id": "evt_2"}, headers | {"Webhook-Timestamp": "x"}, old, {}):
        with pytest.raises(ValueError, match="not signed"):
            client.verify(body, given, secret)
    with pytest.raises(ValueError, match="not signed"):
        client.verify(body + b" ", headers, secret)
    with pytest.raises(ValueError):  # noqa: PT011  (base64's)
        client.verify(body, headers, "no secret")


def test_an_empty_secret_signs_nothing() -> None:
    body, now = b"{}", int(time.time())
    digest = hmac.digest(b"", f"evt_1.{now}.".encode() + body, "sha256")
    headers = {
        "webhook-id": "evt_1",
        "webhook-timestamp": str(now),
        "webhook-signature": "v1," + base64.b64encode(digest).decode(),
    }
    for secret in ("", "whsec_"):
        with pytest.raises(ValueError, match="secret is empty"):
            client.verify(body, headers, secret)


class _Stream(BaseHTTPRequestHandler):
    """Ends the first stream as a Tunehook that stops, cuts the second in the middle, and says 204 to the fourth."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        after = self.headers.get("last-event-id", "")
        self.send_response(204 if after == "e3" else 200)
        if after != "e3":
            self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        if after == "e3":
            return
        event = f'id: x\ndata: {{"id": "e{int(after[1:] or 0) + 1}"}}\n\n'
        self.wfile.write(f"{len(event):x}\r\n{event}\r\n".encode())
        if after == "e1":
            self.wfile.write(b"40\r\ndata: {")
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args: object) -> None:
        pass


def test_events_go_on_when_a_tunehook_stops_or_breaks_off() -> None:
    with HTTPServer(("127.0.0.1", 0), _Stream) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        of = SimpleNamespace(base_url=f"http://127.0.0.1:{server.server_address[1]}/v1/", api_key="th_1")
        assert [event["id"] for event in client.events(of, "ftjob-1")] == ["e1", "e2", "e3"]
        server.shutdown()
