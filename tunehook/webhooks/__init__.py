"""Webhooks: endpoints, events, and deliveries from the commit that publishes them to the answer."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tunehook.errors import InvalidParameter
from tunehook.security.allow_list import AllowList
from tunehook.security.encryption import Encryption
from tunehook.security.ssrf import AddressRefused, check_url
from tunehook.store.store import Store


@dataclass(frozen=True)
class Webhooks:
    """What the functions of this package work with."""

    store: Store
    encryption: Encryption
    allow: AllowList
    operators: str = "default"  #: the project whose endpoints may receive events about the whole deployment
    jitter: Callable[[], float] = random.random  #: 0 to 1, for the pauses between attempts

    def check_url(self, url: str, param: str) -> None:
        """Raises InvalidParameter for `param` unless webhooks may be sent to this URL."""
        try:
            check_url(url, self.allow)
        except AddressRefused as refused:
            raise InvalidParameter(param=param, why=str(refused.fields["rule"])) from refused
