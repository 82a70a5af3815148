"""Log lines as text and as JSON, written by a process of its own, and that no secret is in either."""

import json
import subprocess
import sys

import pytest

KEY = "th_0123456789ab_" + "s3cret" * 7 + "x"
WEBHOOK_SECRET = "whsec_" + "s3cret" * 6
PROGRAM = """
import logging, sys
from tunehook import logs
logs.configure(sys.argv[1])
log = logging.getLogger("tunehook.api")
log.warning("two\\nlines \\udcff %s", "é", extra={"fields": {"job": "ftjob-1", "status": 200, "code": None}})
try:
    raise RuntimeError(f"a header {sys.argv[2]!r}")
except RuntimeError:
    log.exception("%s and %s", *sys.argv[2:])
"""


def logged(form: str) -> str:
    command = [sys.executable, "-c", PROGRAM, form, KEY, WEBHOOK_SECRET]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr


def test_a_json_line_has_the_fields_and_a_traceback() -> None:
    first, second = map(json.loads, logged("json").splitlines())
    assert first["message"] == "two\nlines \udcff é"
    assert {name: first[name] for name in ("level", "logger", "job", "status", "code")} == {
        "level": "warning",
        "logger": "tunehook.api",
        "job": "ftjob-1",
        "status": 200,
        "code": None,
    }
    assert first["time"].endswith("+00:00")
    assert "RuntimeError: a header" in second["traceback"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_line_has_a_key_or_a_secret(form: str) -> None:
    assert "s3cret" not in logged(form)
    assert "th_0123456789ab_" in logged(form), "whose key it was"
