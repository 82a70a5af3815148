"""The user that Redis knows in compose, on a server of a test: what it may not do there fails here as well."""

import hashlib
from pathlib import Path

DEPLOYED = Path(__file__).parents[2] / "deploy" / "redis"
PASSWORD = "of these tests"


def acl_file(directory: Path, *others: str) -> tuple[str, str]:
    """Writes deploy/redis/users.acl with our password, then `others`, into a server's directory.

    Returns the server's options for it. `others` are lines as `user default on nopass ~* &* +@all`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    deployed = (DEPLOYED / "users.acl").read_text().replace("PASSWORD_SHA256", sha256(PASSWORD)).splitlines()
    replaced = {line.split()[1] for line in others}
    lines = [line for line in deployed if line.split()[1] not in replaced]
    (directory / "users.acl").write_text("\n".join([*lines, *others]) + "\n")
    return "--aclfile", "users.acl"


def rights() -> str:
    """Returns what the user may do, as an ACL says it."""
    [line] = [line for line in (DEPLOYED / "users.acl").read_text().splitlines() if line.startswith("user tunehook ")]
    return line.partition("#PASSWORD_SHA256 ")[2]


def sha256(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


def as_compose_user(url: str) -> str:
    """The URL of a server, with the user and the password in it. The user's rights end with `th:` and `rq:`."""
    scheme, rest = url.split("://", 1)
    return f"{scheme}://tunehook:{PASSWORD.replace(' ', '%20')}@{rest}"
