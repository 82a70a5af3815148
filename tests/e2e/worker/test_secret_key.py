"""Programs that hold the wrong TUNEHOOK_SECRET_KEY do not start: they could sign no webhook."""

import base64
import subprocess
import sys

import pytest

from tests.fakes.deployment import ROOT, SECRET_KEY
from tests.fakes.valkey import Valkey
from tunehook import api_keys
from tunehook.security.encryption import Encryption, SecretUnreadable
from tunehook.settings import Settings
from tunehook.store.store import Store

OTHER_KEY = base64.urlsafe_b64encode(b"o" * 32).decode()


def encryption(key: str) -> Encryption:
    return Encryption(Settings.model_validate({"secret_key": key}).secret_key)


async def test_the_first_key_is_the_key(valkey: Valkey) -> None:
    store = Store.connect(valkey.url)
    try:
        await api_keys.check_secret_key(store, encryption(SECRET_KEY))
        await api_keys.check_secret_key(store, encryption(SECRET_KEY))
        with pytest.raises(SecretUnreadable):
            await api_keys.check_secret_key(store, encryption(OTHER_KEY))
        with pytest.raises(SecretUnreadable):
            await api_keys.create(store, encryption(OTHER_KEY), project="default", name="")
        assert await store.api_keys.all() == []
    finally:
        await store.close()


@pytest.mark.parametrize("program", ["service", "worker"])
async def test_no_start_with_another(valkey: Valkey, program: str) -> None:
    store = Store.connect(valkey.url)
    try:
        await api_keys.check_secret_key(store, encryption(SECRET_KEY))
    finally:
        await store.close()
    environment = {"REDIS_URL": valkey.url, "TUNEHOOK_SECRET_KEY": OTHER_KEY, "TUNEHOOK_PORT": "0"}
    command = [sys.executable, "-m", program]
    answer = subprocess.run(  # noqa: ASYNC221  nothing else runs meanwhile
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert answer.returncode == 2
    assert answer.stderr.endswith("TUNEHOOK_SECRET_KEY is not the key that it was stored under.\n")
    assert "Traceback" not in answer.stderr
