"""What `tunehook up` asks of this machine before it starts anything."""

import json
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from cli.processes import PortTaken, _access, _refuse_taken, _url
from tests.fakes.deployment import ROOT


def test_access_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    first = _access(tmp_path / "new")
    assert _access(tmp_path / "new") == first
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["local.json"]
    assert (tmp_path / "new" / "local.json").stat().st_mode & 0o777 == 0o600


def test_a_start_that_cannot_write_it_leaves_nothing_that_stops_the_next(tmp_path: Path) -> None:
    """No file of that process may grow: what is left is what a kill in that moment leaves."""
    program = (
        "import resource, sys, pathlib; from cli.processes import _access;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); _access(pathlib.Path(sys.argv[1]))"
    )
    command = [sys.executable, "-B", "-c", program, str(tmp_path)]
    failed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "OSError" in failed.stderr
    assert not (tmp_path / "local.json").exists()
    assert _access(tmp_path) == _access(tmp_path)


def test_an_empty_one_that_an_older_version_left_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "local.json").touch()
    assert _access(tmp_path).api_key == json.loads((tmp_path / "local.json").read_text())["api_key"]


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_port_is_taken_only_if_somebody_listens(family: socket.AddressFamily, host: str) -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(family))
        try:
            listener.bind((host, 0))
        except OSError:
            pytest.skip(f"this machine has no {host}")
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(PortTaken, match=f"Port {port} on {host} is taken"):
            _refuse_taken(host, port)
        stack.close()
        _refuse_taken(host, port)


def test_an_address_that_is_not_ours_is_not_said_to_be_taken() -> None:
    _refuse_taken("192.0.2.1", 8080)


@pytest.mark.parametrize(("host", "url"), [("127.0.0.1", "http://127.0.0.1:80"), ("::1", "http://[::1]:80")])
def test_an_address_of_the_sixth_version_is_written_in_brackets(host: str, url: str) -> None:
    assert _url(host, 80) == url
