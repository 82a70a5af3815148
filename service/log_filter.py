"""Bytes that are no HTTP, or no body that can be read: aiohttp answers or hangs up by itself, and logs a traceback for
each such connection, which anybody who reaches the port could fill a disk with."""

from __future__ import annotations

import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

WORDS = 200


class OneLine(logging.Filter):
    """For `aiohttp.server`: what a client sent wrong is one line and at most a warning. Our own mistakes keep their
    traceback; what begins with no method at all stays below `info`, where aiohttp put it (scanners, TLS)."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError | web.RequestPayloadError):
            sender = record.args[0] if isinstance(record.args, tuple) and record.args else "a client"
            words = " ".join(str(getattr(error, "message", error)).split())[:WORDS]
            record.msg = "%s sent what cannot be read: %s"
            record.args = (sender, words.encode("unicode_escape").decode())
            record.exc_info = None
            if record.levelno > logging.WARNING:
                record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
        return True


ONE_LINE = OneLine()
