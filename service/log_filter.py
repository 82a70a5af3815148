"""Shortens what aiohttp logs about malformed requests: one line instead of a traceback for each connection.

Otherwise any client that reaches the port could fill the disk.
"""

from __future__ import annotations

import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

WORDS = 200


class OneLine(logging.Filter):
    """For `aiohttp.server`: a client's malformed request is one line, at most a warning.

    Errors of our own keep their traceback. Bytes that are no HTTP (scanners, TLS) stay below `info`, where aiohttp
    puts them.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError | web.RequestPayloadError):
            sender = record.args[0] if isinstance(record.args, tuple) and record.args else "a client"
            words = " ".join(str(getattr(error, "message", error)).split())[:WORDS]
            record.msg = "%s sent a malformed request: %s"
            record.args = (sender, words.encode("unicode_escape").decode())
            record.exc_info = None
            if record.levelno > logging.WARNING:
                record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
        return True


ONE_LINE = OneLine()
