"""Creates, checks and revokes API keys: `th_<id>_<secret of 43 characters>`. Only a hash of the secret is stored.

The secret has 256 random bits, so a plain SHA-256 is enough: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time

from tunehook.errors import StoreMisconfigured, TunehookError, WrongKey
from tunehook.model.api_key import KEY_FORM, ApiKey
from tunehook.model.webhook import OVERLAP_SECONDS, is_repeat
from tunehook.security import signature
from tunehook.security.encryption import Encryption
from tunehook.store.engine.commit import optimistic_update
from tunehook.store.snapshot import RESTORING
from tunehook.store.store import Store


class BootstrapKeyMalformed(TunehookError):
    """TUNEHOOK_BOOTSTRAP_KEY must be th_<id>_<secret>: an id of 6 to 32 of a-z and 0-9, a secret of 43 characters."""


class KeyUnknown(TunehookError):
    """There is no key '{id}'. `tunehook keys list` shows the keys."""


async def check_secret_key(store: Store, encryption: Encryption) -> None:
    """Raises SecretUnreadable when the secrets in this store were sealed under another TUNEHOOK_SECRET_KEY.

    Otherwise a restore without the key would show only when ten attempts at each webhook have failed.
    """
    seal = await store.api_keys.first_encrypted(encryption.encrypt("tunehook"))
    if seal == RESTORING:
        raise StoreMisconfigured(why="A restore to this Redis broke off. Repeat `tunehook restore` with `--force`.")
    encryption.decrypt(seal)


async def create(store: Store, encryption: Encryption, *, project: str, name: str) -> tuple[str, str]:
    """Returns the key and its callback secret. Neither can be read again."""
    key_id = secrets.token_hex(6)
    text = f"th_{key_id}_{secrets.token_urlsafe(32)}"
    callback_secret = signature.new_secret()
    await check_secret_key(store, encryption)
    made = _made(encryption, text, callback_secret, project=project, name=name)
    await store.api_keys.replace(None, made)
    return text, callback_secret


@optimistic_update
async def bootstrap(store: Store, encryption: Encryption, key: str, callback_secret: str | None) -> None:
    """Creates the given key unless it exists; a revoked key stays revoked."""
    match = KEY_FORM.fullmatch(key)
    if match is None:
        raise BootstrapKeyMalformed
    if callback_secret is not None:
        signature.decode_secret(callback_secret)
    await check_secret_key(store, encryption)
    made = _made(encryption, key, callback_secret or signature.new_secret(), project="default", name="bootstrap")
    found = await store.api_keys.get(made.id)
    if found is None or found.secret_sha256 != made.secret_sha256:
        await store.api_keys.replace(found, made)


@optimistic_update
async def revoke(store: Store, key_id: str) -> ApiKey:
    """Revokes a key from the next request on. Webhooks of its jobs are still signed with its callback secret."""
    found = await store.api_keys.get(key_id.removeprefix("th_").partition("_")[0])
    if found is None:
        raise KeyUnknown(id=key_id)
    if found.revoked_at:
        return found
    return await store.api_keys.replace(found, found.model_copy(update={"revoked_at": int(time.time())}))


async def rotate_callback_secret(
    store: Store, encryption: Encryption, key: ApiKey, *, keep_old: bool, now: int, sdk_retry: bool = False
) -> tuple[str, ApiKey]:
    """Returns the new secret, shown this once. With `keep_old` both sign for a day. Raises Conflict."""
    if is_repeat(key.callback_rotated_at, sdk_retry=sdk_retry, now=now):
        return encryption.decrypt(key.callback_secret), key
    secret = signature.new_secret()
    rotated = key.model_copy(
        update={
            "callback_secret": encryption.encrypt(secret),
            "old_callback_secret": key.callback_secret if keep_old else None,
            "old_callback_secret_until": now + OVERLAP_SECONDS if keep_old else None,
            "callback_rotated_at": now,
        }
    )
    return secret, await store.api_keys.replace(key, rotated)


async def authenticate(store: Store, text: str) -> ApiKey:
    """Returns the key's record. Raises WrongKey, which quotes no secret."""
    match = KEY_FORM.fullmatch(text)
    if match is None:
        raise WrongKey(hint="it does not look like th_<id>_<secret>")
    found = await store.api_keys.get(match[1])
    if found is None or not hmac.compare_digest(found.secret_sha256, _hash(match[2])):
        raise WrongKey(hint=f"th_{match[1]}_…")
    if found.revoked_at:
        raise WrongKey(hint=f"th_{match[1]}_… was revoked")
    return found


def _made(encryption: Encryption, text: str, callback_secret: str, *, project: str, name: str) -> ApiKey:
    match = KEY_FORM.fullmatch(text)
    assert match is not None
    return ApiKey(
        id=match[1],
        project=project,
        name=name,
        secret_sha256=_hash(match[2]),
        callback_secret=encryption.encrypt(callback_secret),
        created_at=int(time.time()),
    )


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
