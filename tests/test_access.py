"""API keys: made once, kept as hashes, checked, revoked."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.neighbours.redis_between import redis_between
from tests.neighbours.valkey import Valkey
from tunehook import access
from tunehook.errors import TunehookError, WrongKey
from tunehook.settings import Settings
from tunehook.signature import SecretMalformed, decode_secret, new_secret
from tunehook.store import Store
from tunehook.vault import SecretUnreadable, Vault, VaultClosed

KEYS = ["a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=", "b2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="]


def vault(key: str = KEYS[0]) -> Vault:
    return Vault(Settings.model_validate({"secret_key": key}).secret_key)


@pytest.fixture
async def store(valkey: Valkey) -> AsyncIterator[Store]:
    opened = Store.connect(valkey.url)
    yield opened
    await opened.close()


async def everything_in(store: Store) -> str:
    found = []
    for name in await store.redis.keys("*"):
        kind = await store.redis.type(name)
        found.append(f"{name} {await store.redis.get(name) if kind == 'string' else await store.redis.smembers(name)}")
    return "\n".join(found)


async def test_a_key_opens_its_project_and_is_nowhere_to_be_read(store: Store) -> None:
    text, secret = await access.create(store, vault(), project="birds", name="laptop")
    found = await access.authenticate(store, text)
    assert (found.project, found.name) == ("birds", "laptop")
    assert vault().unseal(found.callback_secret) == secret
    assert len(decode_secret(secret)) >= 24
    kept = await everything_in(store)
    assert text.split("_", 2)[2] not in kept
    assert secret not in kept
    assert hashlib.sha256(text.split("_", 2)[2].encode()).hexdigest() in kept


async def test_two_keys_are_two(store: Store) -> None:
    first, second = [await access.create(store, vault(), project="p", name=name) for name in ("a", "b")]
    assert first[0] != second[0]
    assert first[1] != second[1]
    assert [key.name for key in await store.access.all()] in (["a", "b"], ["b", "a"])


@pytest.mark.parametrize(
    "change",
    [
        lambda key: "",
        lambda key: "Bearer " + key,
        lambda key: key[:-1],
        lambda key: key + "A",
        lambda key: key[:-1] + ("A" if key[-1] != "A" else "B"),
        lambda key: key.upper(),
        lambda key: "th_unknown000_" + key.split("_", 2)[2],
        lambda key: key.replace("th_", "sk_"),
        lambda key: key + "\n",
        lambda key: "th_" + "é" * 8 + "_" + key.split("_", 2)[2],
    ],
)
async def test_anything_else_opens_nothing_and_is_not_quoted(store: Store, change: object) -> None:
    text, _ = await access.create(store, vault(), project="p", name="n")
    assert callable(change)
    with pytest.raises(WrongKey) as refused:
        await access.authenticate(store, change(text))
    assert text.split("_", 2)[2] not in refused.value.message


async def test_a_revoked_key_opens_nothing_but_its_callbacks_are_still_signed(store: Store) -> None:
    text, secret = await access.create(store, vault(), project="p", name="n")
    revoked = await access.revoke(store, text.rpartition("_")[0] if text.count("_") == 2 else text.split("_")[1])
    with pytest.raises(WrongKey, match="was revoked"):
        await access.authenticate(store, text)
    kept = await store.access.get(revoked.id)
    assert kept is not None
    assert vault().unseal(kept.callback_secret) == secret
    assert (await access.revoke(store, revoked.id)).revoked_at == revoked.revoked_at  # twice is no mistake
    with pytest.raises(access.KeyUnknown):
        await access.revoke(store, "nobody")


async def just_before_its_write(
    valkey: Valkey,
    directory: Path,
    meanwhile: Callable[[], Awaitable[object]],
    do: Callable[[Store], Awaitable[object]],
) -> None:
    """`do`, which has read a key, is about to write it; then `meanwhile` happens, once."""
    happened = 0

    async def before(commands: list[list[bytes]]) -> None:
        nonlocal happened
        if not happened and any(command[0] == b"SET" and command[1].startswith(b"th:key:") for command in commands):
            happened += 1
            await meanwhile()

    async with redis_between(valkey.url, directory, before) as url:
        between = Store.connect(url)
        await do(between)
        await between.close()
    assert happened


async def test_a_revocation_does_not_write_over_a_new_callback_secret(
    store: Store, valkey: Valkey, tmp_path: Path
) -> None:
    text, _ = await access.create(store, vault(), project="p", name="n")
    key, rotated = await access.authenticate(store, text), []

    async def rotate() -> None:
        secret, _ = await access.rotate_callback_secret(store, vault(), key, keep_old=False, now=1)
        rotated.append(secret)

    await just_before_its_write(valkey, tmp_path, rotate, lambda between: access.revoke(between, key.id))
    (kept,) = await store.access.all()
    assert vault().unseal(kept.callback_secret) == rotated[0]
    assert kept.revoked_at


async def test_two_first_starts_at_once_keep_one_bootstrap_key(store: Store, valkey: Valkey, tmp_path: Path) -> None:
    """The slower one has seen that there is none; the key has been revoked by then."""
    key = "th_bootstrap_" + "s" * 43

    async def other_start() -> None:
        await access.bootstrap(store, vault(), key, None)
        await access.revoke(store, "bootstrap")

    def slow_start(between: Store) -> Awaitable[None]:
        return access.bootstrap(between, vault(), key, None)

    await just_before_its_write(valkey, tmp_path, other_start, slow_start)
    with pytest.raises(WrongKey, match="was revoked"):
        await access.authenticate(store, key)


async def test_the_bootstrap_key_exists_from_the_first_start_and_survives_the_next(store: Store) -> None:
    key, secret = "th_bootstrap_" + "s" * 43, new_secret()
    for _ in range(2):
        await access.bootstrap(store, vault(), key, secret)
    found = await access.authenticate(store, key)
    assert vault().unseal(found.callback_secret) == secret
    assert len(await store.access.all()) == 1
    await access.revoke(store, found.id)
    await access.bootstrap(store, vault(), key, secret)
    with pytest.raises(WrongKey, match="revoked"):
        await access.authenticate(store, key)


@pytest.mark.parametrize("key", ["", "th_short", "th_bootstrap_" + "s" * 42, "TH_bootstrap_" + "s" * 43, "sk-123"])
async def test_a_malformed_bootstrap_key_is_refused(store: Store, key: str) -> None:
    with pytest.raises(access.BootstrapKeyMalformed):
        await access.bootstrap(store, vault(), key, None)
    assert await store.access.all() == []


async def test_a_malformed_bootstrap_callback_secret_is_refused(store: Store) -> None:
    with pytest.raises(SecretMalformed):
        await access.bootstrap(store, vault(), "th_bootstrap_" + "s" * 43, "not a secret")
    assert await store.access.all() == []


def test_secrets_at_rest_need_the_key_that_they_were_stored_under() -> None:
    sealed = vault().seal("whsec_x")
    assert "whsec_x" not in sealed
    assert vault().unseal(sealed) == "whsec_x"
    wrong: list[tuple[Vault, type[TunehookError]]] = [(vault(KEYS[1]), SecretUnreadable), (Vault(None), VaultClosed)]
    for other, error in wrong:
        with pytest.raises(error):
            other.unseal(sealed)
