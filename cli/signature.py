"""`tunehook signature sign|verify`: signs and verifies webhooks as Standard Webhooks has it, offline."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from cli.failures import AskedWrongly, naming
from cli.lines import tell
from cli.options import AsJson, examples
from cli.terminal import print_json
from tunehook import settings
from tunehook.model.record import new_id
from tunehook.security import signature

app = App(
    name="signature",
    help="Sign and verify webhooks, offline.",
    help_epilogue=examples(
        "signature sign body.json --secret whsec_…", 'signature verify body.json --header "webhook-id: evt_1" …'
    ),
)
Body = Annotated[str, Parameter(allow_leading_hyphen=True)]


def _secrets(given: str | None) -> list[str]:
    kept = settings.load().openai_webhook_secret
    secret = given or (kept and kept.get_secret_value())
    if not secret:
        raise AskedWrongly(why="No secret is known. Give --secret whsec_…, or set OPENAI_WEBHOOK_SECRET.")
    return [secret]


def _read(body: str) -> bytes:
    with naming(body):
        return sys.stdin.buffer.read() if body == "-" else Path(body).read_bytes()


@app.command
def sign(
    body: Body,
    /,
    *,
    secret: str | None = None,
    message_id: Annotated[str | None, Parameter(name="--id")] = None,
    timestamp: int | None = None,
    as_json: AsJson = False,
) -> int:
    """Print the three headers that sign a body.

    Args:
        body: a file with the exact bytes; - for standard input
        secret: whsec_… (default: OPENAI_WEBHOOK_SECRET)
        message_id: the webhook's id (default: a new one)
        timestamp: seconds since 1970 (default: now)
        as_json: as an object
    """
    moment = int(time.time()) if timestamp is None else timestamp
    headers = signature.sign(_secrets(secret), message_id or new_id("evt_"), moment, _read(body))
    if as_json:
        print_json(headers)
    else:
        for name, value in headers.items():
            tell(f"{name}: {value}")
    return 0


@app.command
def verify(
    body: Body,
    /,
    *,
    header: Annotated[list[str], Parameter(name=("--header", "-H"))],
    secret: str | None = None,
    tolerance: int = signature.TOLERANCE,
) -> int:
    """Say whether a webhook was signed with the secret.

    Exit status: 0 yes, 1 no.

    Args:
        body: a file with the exact bytes; - for standard input
        header: NAME: VALUE, for webhook-id, webhook-timestamp and webhook-signature
        secret: whsec_… (default: OPENAI_WEBHOOK_SECRET)
        tolerance: so many seconds its clock may differ (default: 300)
    """
    headers = {}
    for text in header:
        name, is_header, value = text.partition(":")
        if not is_header:
            raise AskedWrongly(why=f"{text!r} is no header. Write --header 'webhook-id: evt_…'.")
        headers[name.strip()] = value.strip()
    signature.verify(_secrets(secret), headers, _read(body), now=int(time.time()), tolerance=tolerance)
    tell("The signature is right.")
    return 0
