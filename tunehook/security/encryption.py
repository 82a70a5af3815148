"""Encrypts webhook secrets at rest, with Fernet and the key TUNEHOOK_SECRET_KEY."""

from __future__ import annotations

from cryptography.fernet import Fernet, InvalidToken
from pydantic import SecretStr

from tunehook.errors import TunehookError


class SecretUnreadable(TunehookError):
    """A webhook secret cannot be decrypted: TUNEHOOK_SECRET_KEY is not the key that it was stored under."""


class EncryptionKeyMissing(TunehookError):
    """TUNEHOOK_SECRET_KEY is not set. `python -c "import base64,os;print(base64.urlsafe_b64encode(os.urandom(32)).decode())"` makes one."""  # noqa: E501


class Encryption:
    def __init__(self, key: SecretStr | None) -> None:
        self._fernet = Fernet(key.get_secret_value()) if key else None

    def encrypt(self, secret: str) -> str:
        return self._opened().encrypt(secret.encode()).decode()

    def decrypt(self, sealed: str) -> str:
        try:
            return self._opened().decrypt(sealed.encode()).decode()
        except InvalidToken as error:
            raise SecretUnreadable from error

    def _opened(self) -> Fernet:
        if self._fernet is None:
            raise EncryptionKeyMissing
        return self._fernet
