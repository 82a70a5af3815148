"""`tunehook new-secret`: prints a new TUNEHOOK_SECRET_KEY."""

from __future__ import annotations

import base64
import os


def new_secret() -> int:
    """Print a new TUNEHOOK_SECRET_KEY."""
    print(base64.urlsafe_b64encode(os.urandom(32)).decode())
    return 0
