"""Webhooks: endpoints, events, and deliveries from the commit that publishes them to the answer."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tunehook.security.allow_list import AllowList
from tunehook.security.encryption import Encryption
from tunehook.store.store import Store


@dataclass(frozen=True)
class Webhooks:
    """What the functions of this package work with."""

    store: Store
    encryption: Encryption
    allow: AllowList
    operators: str = "default"  #: the project whose endpoints may receive events about the whole deployment
    jitter: Callable[[], float] = random.random  #: 0 to 1, for the pauses between attempts
