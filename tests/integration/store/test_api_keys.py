"""API keys: made once, kept as hashes, checked, revoked."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from tests.fakes.redis_between import redis_between
from tests.fakes.valkey import Valkey
from tunehook import api_keys
from tunehook.errors import StoreUnavailable, TunehookError, WrongKey
from tunehook.security.encryption import Encryption, EncryptionKeyMissing, SecretUnreadable
from tunehook.security.signature import SecretMalformed, decode_secret, new_secret
from tunehook.settings import Settings
from tunehook.store.store import Store

KEYS = ["a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=", "b2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="]


def encryption(key: str = KEYS[0]) -> Encryption:
    return Encryption(Settings.model_validate({"secret_key": key}).secret_key)


@pytest.fixture
async def store(valkey: Valkey) -> AsyncIterator[Store]:
    opened = Store.connect(valkey.url)
    yield opened
    await opened.close()


async def everything_in(store: Store) -> str:
    found = []
    for name in await store.redis.keys("*"):
        reads = {"string": store.redis.get, "set": store.redis.smembers, "hash": store.redis.hgetall}
        found.append(f"{name} {await reads[await store.redis.type(name)](name)}")
    return "\n".join(found)


async def test_a_key_opens_its_project_and_is_nowhere_to_be_read(store: Store) -> None:
    text, secret = await api_keys.create(store, encryption(), project="birds", name="laptop")
    found = await api_keys.authenticate(store, text)
    assert (found.project, found.name) == ("birds", "laptop")
    assert encryption().decrypt(found.callback_secret) == secret
    assert len(decode_secret(secret)) >= 24
    kept = await everything_in(store)
    assert text.split("_", 2)[2] not in kept
    assert secret not in kept
    assert hashlib.sha256(text.split("_", 2)[2].encode()).hexdigest() in kept


async def test_two_keys_are_two(store: Store) -> None:
    first, second = [await api_keys.create(store, encryption(), project="p", name=name) for name in ("a", "b")]
    assert first[0] != second[0]
    assert first[1] != second[1]
    assert [key.name for key in await store.api_keys.all()] in (["a", "b"], ["b", "a"])


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
    text, _ = await api_keys.create(store, encryption(), project="p", name="n")
    assert callable(change)
    with pytest.raises(WrongKey) as refused:
        await api_keys.authenticate(store, change(text))
    assert text.split("_", 2)[2] not in refused.value.message


async def test_a_revoked_key_opens_nothing_but_its_callbacks_are_still_signed(store: Store) -> None:
    text, secret = await api_keys.create(store, encryption(), project="p", name="n")
    revoked = await api_keys.revoke(store, text.rpartition("_")[0] if text.count("_") == 2 else text.split("_")[1])
    with pytest.raises(WrongKey, match="was revoked"):
        await api_keys.authenticate(store, text)
    kept = await store.api_keys.get(revoked.id)
    assert kept is not None
    assert encryption().decrypt(kept.callback_secret) == secret
    assert (await api_keys.revoke(store, revoked.id)).revoked_at == revoked.revoked_at  # twice is no mistake
    with pytest.raises(api_keys.KeyUnknown):
        await api_keys.revoke(store, "nobody")


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
    text, _ = await api_keys.create(store, encryption(), project="p", name="n")
    key, rotated = await api_keys.authenticate(store, text), []

    async def rotate() -> None:
        secret, _ = await api_keys.rotate_callback_secret(store, encryption(), key, keep_old=False, now=1)
        rotated.append(secret)

    await just_before_its_write(valkey, tmp_path, rotate, lambda between: api_keys.revoke(between, key.id))
    (kept,) = await store.api_keys.all()
    assert encryption().decrypt(kept.callback_secret) == rotated[0]
    assert kept.revoked_at


async def test_a_lost_answer_is_no_conflict_and_rotates_once(store: Store, valkey: Valkey, tmp_path: Path) -> None:
    """redis-py calls a connection that is lost while it watches a conflict, and a conflict is tried again."""
    text, _ = await api_keys.create(store, encryption(), project="p", name="n")
    key = await api_keys.authenticate(store, text)
    lost = 0

    async def lose(commands: list[list[bytes]]) -> None:
        nonlocal lost
        if any(command[0] == b"EXEC" for command in commands):
            lost += 1
            raise ConnectionResetError

    async with redis_between(valkey.url, tmp_path, after=lose) as url:
        between = Store.connect(url)
        with pytest.raises(StoreUnavailable):
            await api_keys.rotate(between, key.id, keep_old=True, now=key.created_at)
        with pytest.raises(StoreUnavailable):
            await api_keys.create(between, encryption(), project="p", name="n")
        await between.close()
    assert lost == 2
    kept = await store.api_keys.get(key.id)
    assert kept is not None
    assert kept.old_secret_sha256 == hashlib.sha256(text.split("_", 2)[2].encode()).hexdigest(), (
        "the old key still opens"
    )


async def test_two_first_starts_at_once_keep_one_bootstrap_key(store: Store, valkey: Valkey, tmp_path: Path) -> None:
    """The slower one has seen that there is none; the key has been revoked by then."""
    key = "th_bootstrap_" + "s" * 43

    async def other_start() -> None:
        await api_keys.bootstrap(store, encryption(), key, None)
        await api_keys.revoke(store, "bootstrap")

    def slow_start(between: Store) -> Awaitable[None]:
        return api_keys.bootstrap(between, encryption(), key, None)

    await just_before_its_write(valkey, tmp_path, other_start, slow_start)
    with pytest.raises(WrongKey, match="was revoked"):
        await api_keys.authenticate(store, key)


async def test_the_bootstrap_key_exists_from_the_first_start_and_survives_the_next(store: Store) -> None:
    key, secret = "th_bootstrap_" + "s" * 43, new_secret()
    for _ in range(2):
        await api_keys.bootstrap(store, encryption(), key, secret)
    found = await api_keys.authenticate(store, key)
    assert encryption().decrypt(found.callback_secret) == secret
    assert len(await store.api_keys.all()) == 1
    await api_keys.revoke(store, found.id)
    await api_keys.bootstrap(store, encryption(), key, secret)
    with pytest.raises(WrongKey, match="revoked"):
        await api_keys.authenticate(store, key)


@pytest.mark.parametrize("rotations", [1, 2, 3])
async def test_a_start_takes_back_no_rotation_of_the_bootstrap_key(store: Store, rotations: int) -> None:
    first = "th_bootstrap_" + "s" * 43
    await api_keys.bootstrap(store, encryption(), first, None)
    for _ in range(rotations):
        last, _ = await api_keys.rotate(store, "bootstrap", keep_old=False, now=0)
    await api_keys.bootstrap(store, encryption(), first, None)
    await api_keys.authenticate(store, last)
    with pytest.raises(WrongKey):
        await api_keys.authenticate(store, first)
    other = "th_bootstrap_" + "t" * 43
    await api_keys.bootstrap(store, encryption(), other, None)
    await api_keys.authenticate(store, other)


@pytest.mark.parametrize("key", ["", "th_short", "th_bootstrap_" + "s" * 42, "TH_bootstrap_" + "s" * 43, "sk-123"])
async def test_a_malformed_bootstrap_key_is_refused(store: Store, key: str) -> None:
    with pytest.raises(api_keys.BootstrapKeyMalformed):
        await api_keys.bootstrap(store, encryption(), key, None)
    assert await store.api_keys.all() == []


async def test_a_malformed_bootstrap_callback_secret_is_refused(store: Store) -> None:
    with pytest.raises(SecretMalformed):
        await api_keys.bootstrap(store, encryption(), "th_bootstrap_" + "s" * 43, "not a secret")
    assert await store.api_keys.all() == []


def test_secrets_at_rest_need_the_key_that_they_were_stored_under() -> None:
    sealed = encryption().encrypt("whsec_x")
    assert "whsec_x" not in sealed
    assert encryption().decrypt(sealed) == "whsec_x"
    wrong: list[tuple[Encryption, type[TunehookError]]] = [
        (encryption(KEYS[1]), SecretUnreadable),
        (Encryption(None), EncryptionKeyMissing),
    ]
    for other, error in wrong:
        with pytest.raises(error):
            other.decrypt(sealed)
