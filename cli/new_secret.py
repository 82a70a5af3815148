"""`tunehook new-secret`: prints a new TUNEHOOK_SECRET_KEY."""

from __future__ import annotations

import base64
import os

from cli.lines import tell


def new_secret() -> int:
    """Print a new TUNEHOOK_SECRET_KEY."""
    tell(base64.urlsafe_b64encode(os.urandom(32)).decode())
    return 0
