"""What a child process is started with: no secrets in its environment, and an end when its parent ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

#: The variables that a child without secrets inherits, and those whose name begins so.
_INHERITED = {"PATH", "HOME", "TMPDIR", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV"}
_INHERITED_PREFIXES = ("PYTHON", "LC_")
_PR_SET_PDEATHSIG = 1
#: Loaded before a fork, after which little may be done.
_prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


def without_secrets() -> dict[str, str]:
    """Returns the environment of a child that needs no key and no password: one that parses strangers' bytes."""
    return {
        name: text
        for name, text in os.environ.items()  # noqa: TID251  (handed on, not read)
        if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
    }


def end_with_parent(parent: int) -> None:
    """Lets this process get SIGTERM when the parent's thread that started it ends. To be called first in a child.

    Does nothing where only Linux can do that: there a child goes on until it is ended.
    """
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it has ended already
            os._exit(0)
