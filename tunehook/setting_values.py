"""The types that a setting can have. A wrong value is refused in words, without the value."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Mapping
from typing import Annotated
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, Field, SecretStr

from tunehook.model.api_key import KEY_FORM
from tunehook.security.allow_list import HOST_NAME, AllowList, AllowListMalformed
from tunehook.security.signature import SecretMalformed, decode_secret


def _url(value: str, *schemes: str) -> str:
    try:
        parts = urlsplit(value)
        good = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good or re.search(r"\s", value):
        raise ValueError(
            f"must start with {' or '.join(f'{scheme}://' for scheme in schemes)}, a host and perhaps a port"
        )
    return value


#: redis+sentinel://[user:password@]host[:port][,host[:port]…]/name[/database][?options]
_SENTINEL = r"(\[[0-9A-Fa-f:.]+\]|[^\s@/?#,:\[\]]+)(:[0-9]{1,5})?"
_SENTINELS = re.compile(
    rf"rediss?\+sentinel://([^\s@/?#]*@)?{_SENTINEL}(,{_SENTINEL})*/[^\s/?#]+(/[0-9]*)?(\?\S*)?", re.ASCII
)


#: What an option of a Redis URL can be: words → form.
_FORMS = {
    "a whole number": "[0-9]+",
    "a number": r"[0-9]+(\.[0-9]+)?",
    "true or false": "true|false|yes|no|on|off|1|0",
    "none, optional or required": "none|optional|required",
    "2 or 3": "[23]",
    "a word": "[!-~]+",
    "a text": ".+",
}
#: The options that all our connections take, and their forms.
_OPTIONS = {
    "db": "a whole number", "username": "a text", "password": "a text", "client_name": "a word", "protocol": "2 or 3",
    "socket_timeout": "a number", "socket_connect_timeout": "a number", "socket_read_size": "a whole number",
    "socket_keepalive": "true or false", "retry_on_timeout": "true or false", "max_connections": "a whole number",
    "health_check_interval": "a whole number",
}  # fmt: skip
_TLS_OPTIONS = {
    "ssl_cert_reqs": "none, optional or required", "ssl_check_hostname": "true or false", "ssl_ca_certs": "a text",
    "ssl_ca_path": "a text", "ssl_ca_data": "a text", "ssl_certfile": "a text", "ssl_keyfile": "a text",
    "ssl_password": "a text", "ssl_min_version": "a whole number", "ssl_ciphers": "a text",
}  # fmt: skip
_SENTINEL_OPTIONS = {"sentinel_username": "a text", "sentinel_password": "a text"}


def _check_options(query: str, known: Mapping[str, str]) -> None:
    """Raises ValueError for an option that no connection can be opened with; it quotes no value."""
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            quoted = f" {name}" if value and re.fullmatch("[a-z_]{1,30}", name) else ""
            raise ValueError(f"has an option{quoted} that is not known. Known are {', '.join(known)}")
        if not re.fullmatch(_FORMS[known[name]], value, re.IGNORECASE):
            raise ValueError(f"has an option {name} that must be {known[name]}")


def _redis_url(value: str) -> str:
    scheme, _, rest = value.partition("://")
    tls = _TLS_OPTIONS if scheme.startswith("rediss") else {}
    if scheme == "unix":
        if not rest.partition("?")[0]:
            raise ValueError("must name a socket, such as unix:///run/redis.sock?db=0")
        over_tcp = {"socket_keepalive"}
        _check_options(rest.partition("?")[2], {name: form for name, form in _OPTIONS.items() if name not in over_tcp})
        return value
    if value.startswith(("redis+sentinel://", "rediss+sentinel://")):
        if not _SENTINELS.fullmatch(value):
            raise ValueError(
                "must name the Sentinels, with commas between them, and the primary that they know, such as "
                "redis+sentinel://sentinel-1:26379,sentinel-2:26379/mymaster/0; "
                "in a password, @ / ? # are %40 %2F %3F %23"
            )
        _check_ports(rest)
        _check_options(rest.partition("?")[2], _SENTINEL_OPTIONS | tls)
        return value
    if not value.startswith(("redis://", "rediss://")):
        raise ValueError("must start with redis://, rediss://, redis+sentinel://, rediss+sentinel:// or unix://")
    if not re.fullmatch(r"(/[0-9]*)?", urlsplit(_url(value, "redis", "rediss")).path, re.ASCII):
        raise ValueError("must end with the number of a database, such as redis://localhost:6379/0")
    _check_options(rest.partition("?")[2], _OPTIONS | tls)
    return value


def _check_ports(sentinels: str) -> None:
    hosts = sentinels.partition("/")[0].rpartition("@")[2]
    if any(not 0 < int(port) < 65536 for port in re.findall(r":([0-9]+)(?:,|$)", re.sub(r"\[[^]]*\]", "", hosts))):
        raise ValueError("has a port that is not 1 to 65535")


def check_store_url(value: str) -> str:
    schemes = ("file", "s3", "gs", "az")
    parts = urlsplit(value)
    if parts.scheme not in schemes or not (parts.path.startswith("/") if parts.scheme == "file" else parts.netloc):
        raise ValueError("must be s3://bucket/path, gs://bucket/path, az://container/path or file:///directory")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("must name a bucket and a path alone: credentials have variables of their own")
    return value


def _upstream_key(value: SecretStr) -> SecretStr:
    """A key with a line end, as from a file, would fail in each request's head."""
    if not re.fullmatch(r"[!-~]*", value.get_secret_value()):
        raise ValueError("must be one word of ASCII characters, without a blank or a line end")
    return value


def _webhook_secret(value: SecretStr) -> SecretStr:
    if value.get_secret_value():
        try:
            decode_secret(value.get_secret_value())
        except SecretMalformed as error:
            raise ValueError(error.message) from error
    return value


def _own_key(value: SecretStr) -> SecretStr:
    if not KEY_FORM.fullmatch(value.get_secret_value()):
        raise ValueError("must be th_<id>_<secret>: an id of 6 to 32 of a-z and 0-9, a secret of 43 characters")
    return value


def _fernet_key(value: SecretStr) -> SecretStr:
    try:
        good = len(base64.urlsafe_b64decode(value.get_secret_value())) == 32
    except (binascii.Error, ValueError):
        good = False
    if not good:
        raise ValueError("must be 32 random bytes in URL-safe base64 (a Fernet key)")
    return value


def check_name(value: str, what: str = "") -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", value, re.ASCII):
        raise ValueError(f"{what}must be 1 to 64 letters, digits, dots, hyphens or underscores")
    return value


def _host(value: str) -> str:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        if not HOST_NAME.fullmatch(value.lower()):
            raise ValueError("must be an address or a host name, without http:// and port") from None
    return value


def _allow_list(value: str) -> str:
    try:
        AllowList.parse(value)
    except AllowListMalformed as error:
        raise ValueError(f"it holds `{error.fields['entry']}`, and {error.fields['why']}") from error
    return value


Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_networks(text: str) -> tuple[Network, ...]:
    """Returns the networks of a comma list of addresses and CIDRs. Raises ValueError, which names a wrong entry."""
    networks: list[Network] = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        try:
            networks.append(ipaddress.ip_network(entry))
        except ValueError as error:
            raise ValueError(f"it holds `{entry}`, which is no address or network: {error}") from None
    return tuple(networks)


def _networks(value: str) -> str:
    parse_networks(value)
    return value


HttpUrl = Annotated[str, AfterValidator(lambda value: _url(value, "http", "https"))]
RedisUrl = Annotated[str, AfterValidator(_redis_url)]
StoreUrl = Annotated[str, AfterValidator(check_store_url)]
UpstreamKey = Annotated[SecretStr, AfterValidator(_upstream_key)]
WebhookSecret = Annotated[SecretStr, AfterValidator(_webhook_secret)]
OwnKey = Annotated[SecretStr, AfterValidator(_own_key)]
FernetKey = Annotated[SecretStr, AfterValidator(_fernet_key)]
Name = Annotated[str, AfterValidator(check_name)]
Host = Annotated[str, AfterValidator(_host)]
NetworksText = Annotated[str, AfterValidator(_networks)]
AllowListText = Annotated[str, AfterValidator(_allow_list)]
AccountId = Annotated[str, Field(pattern="^[A-Za-z0-9][A-Za-z0-9-]{0,62}$")]
Days = Annotated[float, Field(ge=0, le=36500)]
