"""What a command says and returns when it cannot do what was asked.

Exit statuses of all commands: 0 done, 1 could not be done, 2 asked wrongly, 3 the time is over and it still runs,
4 the key is missing or refused, 5 Tunehook is not reachable or busy: try again, 130 Ctrl-C.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tunehook.errors import TunehookError

FAILED, WRONG, STILL_RUNNING, NO_KEY, TRY_AGAIN = 1, 2, 3, 4, 5


class CommandFailed(TunehookError):
    """{why}"""

    exit_status = FAILED


class AskedWrongly(CommandFailed):
    """{why}"""

    exit_status = WRONG


class NotConfirmed(CommandFailed):
    """Nothing was {done}: there is no terminal to ask in. Give --yes{other}."""


@contextmanager
def naming(path: object) -> Iterator[None]:
    """Turns an OSError into AskedWrongly, which names the file."""
    try:
        yield
    except OSError as error:
        raise AskedWrongly(why=f"{path}: {error.strerror}") from error


def exit_status(error: TunehookError) -> int:
    """Returns the exit status of a command that ended with this error."""
    return error.exit_status if isinstance(error, CommandFailed) else FAILED
