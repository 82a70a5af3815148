"""Creates, checks, changes, rotates and revokes API keys: `th_<id>_<secret of 43 characters>`.

Only a hash of the secret is stored. It has 256 random bits, so a plain SHA-256 is enough: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence

from tunehook.errors import InvalidParameter, StoreMisconfigured, TunehookError, WrongKey
from tunehook.model.api_key import KEY_FORM, OF_A_PROJECT, ApiKey, Scope
from tunehook.model.project import day_of
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


async def create(
    store: Store,
    encryption: Encryption,
    *,
    project: str,
    name: str,
    scopes: Sequence[Scope] = OF_A_PROJECT,
    expires_at: int | None = None,
) -> tuple[str, str]:
    """Returns the key and its callback secret. Neither can be read again. Raises InvalidParameter.

    A key with the scope `admin` belongs to the deployment: it has no project, and no other scope.
    """
    scopes = _checked(scopes)
    _check_end(expires_at)
    key_id = secrets.token_hex(6)
    text = f"th_{key_id}_{secrets.token_urlsafe(32)}"
    callback_secret = signature.new_secret()
    await check_secret_key(store, encryption)
    whose = "" if Scope.ADMIN in scopes else project
    made = _made(encryption, text, callback_secret, project=whose, name=name)
    await store.api_keys.replace(None, made.model_copy(update={"scopes": scopes, "expires_at": expires_at}))
    return text, callback_secret


async def find(store: Store, key_id: str) -> ApiKey:
    """Returns a key by its id, or by the whole key. Raises KeyUnknown."""
    found = await store.api_keys.get(key_id.removeprefix("th_").partition("_")[0])
    if found is None:
        raise KeyUnknown(id=key_id.removeprefix("th_").partition("_")[0][:32])
    return found


@optimistic_update
async def change(
    store: Store,
    key_id: str,
    *,
    name: str | None = None,
    scopes: Sequence[Scope] | None = None,
    expires_at: int | None = None,
    forever: bool = False,
) -> ApiKey:
    """Changes what is given; `forever` takes the expiry date away. Holds from the next request on.

    Raises KeyUnknown, InvalidParameter. A key stays an admin key, or the key of its project.
    """
    found = await find(store, key_id)
    _check_end(expires_at)
    new: dict[str, object] = {"name": name, "expires_at": expires_at}
    new["scopes"] = None if scopes is None else _checked(scopes)
    changed = found.model_copy(update={member: value for member, value in new.items() if value is not None})
    if changed.is_admin != found.is_admin:
        why = "an admin key has the scope 'admin' alone, and no other key has it. Make another key"
        raise InvalidParameter(param="scopes", why=why)
    if forever:
        changed = changed.model_copy(update={"expires_at": None})
    return await store.api_keys.replace(found, changed)


@optimistic_update
async def rotate(store: Store, key_id: str, *, keep_old: bool, now: int) -> tuple[str, ApiKey]:
    """Gives a key a new secret; returns the whole key, shown this once. With `keep_old` both open for a day.

    Raises KeyUnknown, and InvalidParameter for a key that was revoked.
    """
    found = await find(store, key_id)
    if found.revoked_at:
        raise InvalidParameter(param="id", why="this key was revoked. Make another one")
    secret = secrets.token_urlsafe(32)
    rotated = found.model_copy(
        update={
            "secret_sha256": _hash(secret),
            "old_secret_sha256": found.secret_sha256,
            "old_secret_until": now + OVERLAP_SECONDS if keep_old else now,
        }
    )
    return f"th_{found.id}_{secret}", await store.api_keys.replace(found, rotated)


def _checked(scopes: Sequence[Scope]) -> Sequence[Scope]:
    """Returns the scopes in their order, each once. Raises InvalidParameter."""
    ordered = [scope for scope in Scope if scope in scopes]
    if not ordered:
        raise InvalidParameter(param="scopes", why=f"name at least one of {', '.join(Scope)}")
    if Scope.ADMIN in ordered and len(ordered) > 1:
        why = "an admin key has no other scope: it belongs to the deployment and may call /v1/admin/* alone"
        raise InvalidParameter(param="scopes", why=why)
    return ordered


def _check_end(expires_at: int | None) -> None:
    if expires_at is not None and expires_at <= time.time():
        raise InvalidParameter(param="expires_at", why="it must be in the future; revoke a key that is to end now")


@optimistic_update
async def bootstrap(store: Store, encryption: Encryption, key: str, callback_secret: str | None) -> None:
    """Creates the given key unless it exists; a revoked key stays revoked, and a rotated one rotated."""
    match = KEY_FORM.fullmatch(key)
    if match is None:
        raise BootstrapKeyMalformed
    if callback_secret is not None:
        signature.decode_secret(callback_secret)
    await check_secret_key(store, encryption)
    made = _made(encryption, key, callback_secret or signature.new_secret(), project="default", name="bootstrap")
    found = await store.api_keys.get(made.id)
    secret = made.secret_sha256
    # The first secret is noted: after two rotations nothing else tells that the setting is an old one.
    if found is None or secret not in (found.secret_sha256, found.old_secret_sha256, found.bootstrap_sha256):
        await store.api_keys.replace(found, made.model_copy(update={"bootstrap_sha256": secret}))
    elif found.bootstrap_sha256 != secret:
        await store.api_keys.replace(found, found.model_copy(update={"bootstrap_sha256": secret}))


@optimistic_update
async def revoke(store: Store, key_id: str) -> ApiKey:
    """Revokes a key from the next request on. Webhooks of its jobs are still signed with its callback secret."""
    found = await find(store, key_id)
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
    """Returns the key's record, notes the day of its use, and reads the limits of projects if they have changed.

    Raises WrongKey, which quotes no secret.
    """
    match = KEY_FORM.fullmatch(text)
    if match is None:
        raise WrongKey(hint="it does not look like th_<id>_<secret>")
    found, version = await store.api_keys.get_with_limits(match[1])
    now = time.time()
    if found is None or not _opens(found, match[2], now):
        raise WrongKey(hint=f"th_{match[1]}_…")
    state = found.state(now)
    if state == "revoked":
        raise WrongKey(hint=f"th_{match[1]}_… was revoked")
    if state == "expired":
        raise WrongKey(hint=f"th_{match[1]}_… expired on {day_of(found.expires_at or 0)}")
    await store.projects.refresh(version)
    await store.api_keys.note_use(found.id, day_of(now))
    return found


def opens(key: ApiKey | None, text: str, scope: Scope) -> bool:
    """Returns whether a key, as it is now, lets in what carries `text` and needs `scope`: for streams that go on."""
    match, now = KEY_FORM.fullmatch(text), time.time()
    if key is None or match is None or scope not in key.scopes or key.state(now) != "active":
        return False
    return _opens(key, match[2], now)


def _opens(key: ApiKey, secret: str, now: float) -> bool:
    given = _hash(secret)
    if hmac.compare_digest(key.secret_sha256, given):
        return True
    old = key.old_secret_sha256 if (key.old_secret_until or 0) > now else None
    return old is not None and hmac.compare_digest(old, given)


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
