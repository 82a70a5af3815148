"""Where commands send a Tunehook key, and what they say of an address or an answer that is none."""

from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from cli.import_jobs import _dry_run, _import, _Outcome
from cli.options import FOUND, Service
from cli.service_client import NoAccess, ServiceClient, ServiceRefused, ServiceUnreachable

KEY = "th_abcdef123456_" + "a" * 43


def test_a_key_of_ours_never_goes_to_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    """OPENAI_BASE_URL is not set, so the SDK's default would be OpenAI's address."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("TUNEHOOK_PORT", "8123")
    with ServiceClient.from_arguments(FOUND) as client:
        assert client.url == "http://127.0.0.1:8123"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://tunehook.example:9/v1")
    with ServiceClient.from_arguments(FOUND) as client:
        assert client.url == "http://tunehook.example:9"


def test_a_key_of_this_machine_goes_to_no_other_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("TUNEHOOK_BOOTSTRAP_KEY", KEY)
    monkeypatch.setenv("TUNEHOOK_PORT", "8123")
    with ServiceClient.from_arguments(Service(url="http://localhost:8123/v1", key=None)) as client:
        assert client.url == "http://localhost:8123"
    for url in ("https://tunehook.example", "http://127.0.0.1:9", "http://[::1"):
        with pytest.raises(NoAccess, match="--key"):
            ServiceClient.from_arguments(Service(url=url, key=None))


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "localhost", "http://host:port", "http://[::1"])
def test_an_address_that_is_none_is_told_at_once(url: str) -> None:
    with ServiceClient(url, KEY, pauses=(3600.0,)) as client, pytest.raises(ServiceUnreachable, match="--url"):
        client.get("/models")


def test_a_date_that_is_none_hides_no_list(capsys: pytest.CaptureFixture[str]) -> None:
    row = {
        "id": "ftjob-1", "created_at": 1764115200000, "status": "succeeded", "model": "m", "training_file": None,
        "reason": None, "importable": True,
    }  # fmt: skip
    assert _dry_run([row], with_datasets=False) == 0
    assert "ftjob-1" in capsys.readouterr().out


class _Refuses(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.send_response(401)
        self.end_headers()
        self.wfile.write(b'{"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}')

    def log_message(self, format: str, *args: object) -> None: ...


def test_a_key_that_is_revoked_meanwhile_ends_the_import() -> None:
    """It was tried for each of the jobs that were left."""
    row = {"id": "ftjob-1", "upstream": "openai", "reason": None, "job_id": None}
    with HTTPServer(("127.0.0.1", 0), _Refuses) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with (
            ServiceClient(f"http://127.0.0.1:{server.server_port}", KEY, pauses=()) as client,
            pytest.raises(ServiceRefused, match="Incorrect API key"),
        ):
            _import(client, row, _Outcome(), with_datasets=False)
        server.shutdown()
