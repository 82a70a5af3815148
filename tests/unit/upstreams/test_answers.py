"""What is made of an answer's bytes, and of a connection that failed."""

import errno
import json
import ssl

import httpx2
import pytest

from tunehook.errors import UpstreamUnknown
from tunehook.upstreams import answers


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"5",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"a":' * 240 + b"1" + b"}" * 240,
        b'{"a": "' + b"x" * 2_000_000,
    ],
)
def test_what_is_no_json_object_is_unknown(content: bytes) -> None:
    with pytest.raises(UpstreamUnknown):
        answers.json_object("openai", content)


def test_json_of_brackets_is_not_read() -> None:
    """15 MB of `[],` would take 400 MB."""
    with pytest.raises(UpstreamUnknown, match="too many members"):
        answers.json_object("openai", b'{"data": [' + b"[]," * 5_000_000 + b"[]]}")


def test_a_large_page_with_long_texts_is_read() -> None:
    page = {"data": [{"source": "def grade(sample, item):\n" * 6000} for _ in range(100)]}
    content = json.dumps(page).encode()
    assert len(content) < answers.JSON_BYTES
    assert answers.json_object("openai", content) == page


def test_half_of_a_surrogate_pair_can_be_stored() -> None:
    found = answers.json_object("openai", b'{"message": "a\\ud800b \\uD83D\\uDE00 \\\\ud800", "n": 1e3, "loss": NaN}')
    assert found == {"message": "a?b \N{GRINNING FACE} \\ud800", "n": 1000.0, "loss": None}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>Bad Gateway</html>", "The upstream 'x' answered 502 and gave no reason."),
        (b"not found", "The upstream 'x' answered 502 and gave no reason."),
        (b"", "The upstream 'x' answered 502 and gave no reason."),
        (b'{"detail": "Not Found"}', "Not Found"),
        (b'{"error": "no such model"}', "no such model"),
        (b'{"object": "error", "message": "too long", "code": 40303}', "too long"),
        (b'{"error": {"message": null}}', "The upstream 'x' answered 502 and gave no reason."),
        (b'{"error": {"message": "m", "code": "c"}}', "m"),
        (b'{"error": [1]}', "The upstream 'x' answered 502 and gave no reason."),
    ],
)
def test_an_error_is_in_openais_shape(content: bytes, said: str) -> None:
    error = json.loads(answers.error_body("x", 502, content))["error"]
    assert error["message"] == said
    assert error.keys() == {"message", "type", "param", "code"}


def test_an_error_in_openais_shape_is_passed_on_as_it_came() -> None:
    content = b'{ "error": {"message": "m", "type": "t", "param": null, "code": null, "more": 1} }'
    assert answers.error_body("x", 400, content) == content


def test_a_certificate_error_that_the_http_client_did_not_map_is_said_as_such() -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "certificate has expired"
    assert "its TLS certificate is not accepted (certificate has expired)" in answers.no_answer("x", error).message


@pytest.mark.parametrize(
    ("number", "said"), [(errno.ECONNREFUSED, "the connection was refused"), (errno.EHOSTUNREACH, "no route to host")]
)
def test_a_host_of_several_addresses_is_said_by_the_first_and_without_it(number: int, said: str) -> None:
    failed = [OSError(number, f"Connect call failed ('10.0.0.{n}', 443)") for n in (1, 2)]
    error = httpx2.ConnectError("All connection attempts failed")
    error.__cause__ = OSError("All connection attempts failed")
    error.__cause__.__cause__ = ExceptionGroup("multiple connection attempts failed", failed)
    found = answers.no_answer("x", error).message
    assert found.endswith(f"could be made: {said}.")


def test_a_certificate_of_another_host_is_said_without_ours() -> None:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "Hostname mismatch, certificate is not valid for 'trainer.internal'."
    assert "not accepted (Hostname mismatch)" in answers.no_answer("x", error).message
