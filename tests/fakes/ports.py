"""Ports for programs that are started later."""

import random
import socket


def free_port() -> int:
    """Returns a port on 127.0.0.1 where nothing listens.

    It lies below those that Linux gives to outgoing connections (32768 up): one of these could take it meanwhile.
    """
    while True:
        port = random.randrange(20_000, 32_768)  # noqa: S311  no secret
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
