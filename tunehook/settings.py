"""Reads the environment, as the only module. A wrong or unknown setting stops the start.

pydantic-settings ignores a misspelt name, so `check_names` looks for `TUNEHOOK_…` names that do not exist.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from tunehook.errors import TunehookError
from tunehook.setting_values import (
    AccountId,
    AllowListText,
    Days,
    FernetKey,
    Host,
    HttpUrl,
    Name,
    NetworksText,
    OwnKey,
    RedisUrl,
    StoreUrl,
    UpstreamKey,
    WebhookSecret,
    check_name,
)
from tunehook.wording import in_words

OPENAI_BASE_URL = "https://api.openai.com/v1"
FIREWORKS_BASE_URL = "https://api.fireworks.ai"
NEBIUS_BASE_URL = "https://api.tokenfactory.nebius.com/v1"
TOGETHER_BASE_URL = "https://api.together.ai/v1"
#: What an upstream can be, in the order in which the default is chosen. tunehook/upstreams/kinds.py opens each.
KindName = Literal["openai", "azure", "fireworks", "nebius", "together", "trainer"]
KIND_NAMES: tuple[KindName, ...] = get_args(KindName)
#: The kinds that a vendor's own variables configure, under the same name. A trainer is one's own machine.
VENDORS = tuple(kind for kind in KIND_NAMES if kind != "trainer")
#: Where a kind is reached whose vendor has one address for all.
BASE_URLS: Mapping[str, str] = {
    "fireworks": FIREWORKS_BASE_URL,
    "nebius": NEBIUS_BASE_URL,
    "together": TOGETHER_BASE_URL,
}


class SettingsError(TunehookError):
    """{why}"""


class UpstreamSettings(BaseModel):
    """An upstream: what it speaks, its base URL and key. `account_id`: at a vendor whose URLs have one.

    `free_slots`: so many of its slots are left to others.
    """

    kind: KindName = "openai"
    base_url: Annotated[HttpUrl, AfterValidator(lambda url: url.rstrip("/"))]
    api_key: UpstreamKey
    account_id: AccountId | None = None
    webhook_secret: WebhookSecret | None = None
    free_slots: Annotated[int, Field(ge=0, le=10_000)] = 0

    @model_validator(mode="before")
    @classmethod
    def _vendors_own_address(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        given = {name: text for name, text in value.items() if text != ""}
        kind = given.get("kind", "openai")
        if kind in BASE_URLS:
            given.setdefault("base_url", BASE_URLS[kind])
        if kind == "azure" and isinstance(given.get("base_url"), str):
            given["base_url"] = azure_base_url(given["base_url"])
        return given

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.kind == "fireworks") != (self.account_id is not None):
            raise ValueError("of kind fireworks needs ACCOUNT_ID, and no other kind has one")
        return self


def _upstreams(value: dict[str, UpstreamSettings]) -> dict[str, UpstreamSettings]:
    for name in value:  # it becomes part of a path and of keys
        check_name(name, f"the name {name!r} ")
    return value


def _variable(field: str) -> str:
    """Returns the environment's name of a setting: one that its owner's tools read too, or one of ours."""
    shared = ("redis_", "openai_", "azure_openai_", "fireworks_", "nebius_", "together_", "otel_")
    return field.upper() if field.startswith(shared) else f"TUNEHOOK_{field.upper()}"


class Settings(BaseSettings):
    """All settings. Secrets have no default. README has the table (a test compares the two)."""

    model_config = SettingsConfigDict(
        alias_generator=_variable,
        env_prefix="TUNEHOOK_",  # before the names of fields, which `populate_by_name` lets be read as well
        env_nested_delimiter="__",
        env_ignore_empty=True,  # Compose passes `NAME=` for a setting that its user left empty
        extra="ignore",
        populate_by_name=True,
        hide_input_in_errors=True,
        validate_default=False,
    )

    redis_url: RedisUrl = ""
    replicas: Annotated[int, Field(ge=0, le=8)] = 0
    openai_api_key: UpstreamKey | None = None
    openai_base_url: HttpUrl = OPENAI_BASE_URL
    openai_webhook_secret: WebhookSecret | None = None
    azure_openai_api_key: UpstreamKey | None = None
    azure_openai_endpoint: HttpUrl = ""
    azure_openai_webhook_secret: WebhookSecret | None = None
    fireworks_api_key: UpstreamKey | None = None
    fireworks_account_id: AccountId | None = None
    fireworks_base_url: HttpUrl = FIREWORKS_BASE_URL
    nebius_api_key: UpstreamKey | None = None
    nebius_base_url: HttpUrl = NEBIUS_BASE_URL
    together_api_key: UpstreamKey | None = None
    together_base_url: HttpUrl = TOGETHER_BASE_URL
    upstreams: Annotated[dict[str, UpstreamSettings], AfterValidator(_upstreams)] = {}
    default_upstream: Annotated[str, AfterValidator(str.lower)] = ""
    host: Host = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    trusted_proxies: NetworksText = ""
    data_dir: Path = Path(".tunehook")
    store_url: StoreUrl = ""
    poll_seconds: Annotated[float, Field(gt=0, le=3600)] = 30
    settle_seconds: Annotated[float, Field(ge=0, le=86400)] = 180
    on_unknown: Literal["retry", "hold"] = "retry"
    webhook_allow: AllowListText = ""
    operators_project: str = "default"
    log: Literal["text", "json"] = "text"
    page: Literal["on", "off"] = "on"
    durability: Literal["strict", "relaxed"] = "strict"
    simulator_speed: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 80
    workers: Annotated[int, Field(ge=1, le=64)] = 2
    keep_jobs_days: Days = 90
    keep_datasets_days: Days = 90
    keep_copies_days: Days = 7
    keep_deliveries_days: Annotated[float, Field(ge=8, le=36500)] = 30  #: attempts take 75 hours, 181 at most
    prices: Path | None = None
    otel_endpoint: Annotated[HttpUrl, Field(validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT")] = ""
    otel_service_name: str = ""
    instance: Name = "tunehook"
    secret_key: FernetKey | None = None
    bootstrap_key: OwnKey | None = None
    bootstrap_callback_secret: WebhookSecret | None = None

    @model_validator(mode="after")
    def _whole_upstreams(self) -> Self:
        """With only one of two settings that go together, no upstream would be configured, silently."""
        pairs = {
            "AZURE_OPENAI_API_KEY and AZURE_OPENAI_ENDPOINT": (self.azure_openai_api_key, self.azure_openai_endpoint),
            "FIREWORKS_API_KEY and FIREWORKS_ACCOUNT_ID": (self.fireworks_api_key, self.fireworks_account_id),
        }
        for names, (one, other) in pairs.items():
            if bool(one) != bool(other):
                raise ValueError(f"{names} go together: set both or neither")
        configured = self.all_upstreams()
        if self.default_upstream and configured and self.default_upstream not in configured:
            names = ", ".join(configured)
            raise ValueError(f"TUNEHOOK_DEFAULT_UPSTREAM must name an upstream that is configured: {names}")
        return self

    @property
    def has_own_key_for_openai(self) -> bool:
        """Whether OPENAI_API_KEY is a key of ours, as in a shell that ran the lines of `tunehook up`.

        Tunehook would become its own upstream.
        """
        return bool(self.openai_api_key and self.openai_api_key.get_secret_value().startswith("th_"))

    def all_upstreams(self) -> dict[str, UpstreamSettings]:
        """Every upstream that this deployment can train on, by name; the first is the default.

        The default is TUNEHOOK_DEFAULT_UPSTREAM, or else the first of openai, azure, fireworks, nebius, together, or
        else the first by name.
        """
        named = {**self._by_vendors_variables(), **{name.lower(): one for name, one in self.upstreams.items()}}
        first = [self.default_upstream, *(name for name in VENDORS if name != self.default_upstream)]
        places = {name: place for place, name in enumerate(first)}
        return {name: named[name] for name in sorted(named, key=lambda name: (places.get(name, len(places)), name))}

    def _by_vendors_variables(self) -> dict[str, UpstreamSettings]:
        """Returns the upstreams that the vendors' own variables configure."""
        rows: dict[KindName, tuple[SecretStr | None, str, dict[str, Any]]] = {
            "openai": (
                None if self.has_own_key_for_openai else self.openai_api_key,
                self.openai_base_url,
                {"webhook_secret": self.openai_webhook_secret},
            ),
            "azure": (
                self.azure_openai_api_key,
                self.azure_openai_endpoint,
                {"webhook_secret": self.azure_openai_webhook_secret},
            ),
            "fireworks": (self.fireworks_api_key, self.fireworks_base_url, {"account_id": self.fireworks_account_id}),
            "nebius": (self.nebius_api_key, self.nebius_base_url, {}),
            "together": (self.together_api_key, self.together_base_url, {}),
        }
        return {
            kind: UpstreamSettings(kind=kind, base_url=url, api_key=key, **more)
            for kind, (key, url, more) in rows.items()
            if key
        }


def azure_base_url(endpoint: str) -> str:
    """Returns the OpenAI-compatible root of `https://<resource>.openai.azure.com`, or of that root itself."""
    endpoint = endpoint.rstrip("/")
    return endpoint if endpoint.endswith("/openai/v1") else f"{endpoint}/openai/v1"


def known_names() -> dict[str, str]:
    """Environment name → field name, for all settings but the nested `TUNEHOOK_UPSTREAMS__<NAME>__…`."""
    return {str(field.validation_alias): name for name, field in Settings.model_fields.items() if name != "upstreams"}


#: What configures upstreams, but for the nested ones: set to nothing where the simulator is the only one.
UPSTREAM_NAMES = (
    "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT", "FIREWORKS_API_KEY", "FIREWORKS_ACCOUNT_ID", "NEBIUS_API_KEY",
    "TOGETHER_API_KEY", "TUNEHOOK_DEFAULT_UPSTREAM",
)  # fmt: skip
#: Read by the simulator and by the trainer, which are programs of their own and import nothing of ours.
FOREIGN_NAMES = frozenset(
    f"TUNEHOOK_SIMULATOR_{name}"
    for name in (
        "HOST", "PORT", "SLOTS", "KEYS", "WEBHOOK_URL", "WEBHOOK_SECRET", "MODEL_DELAY", "FILE_DELAY",
        "ORGANIZATION", "AZURE_RUNNING", "AZURE_QUEUED", "AZURE_DEPLOYED",
    )
) | frozenset(
    f"TUNEHOOK_TRAINER_{name}"
    for name in (
        "HOST", "PORT", "DATA_DIR", "REDIS_URL", "MODELS", "KEYS", "ORGANIZATION", "SLOTS", "SLOT", "MIN_FREE_BYTES",
        "SERVING_URL", "SERVE", "SERVE_WHILE_TRAINING", "SWEEP_SECONDS", "CHILD",
    )
)  # fmt: skip


def check_names(environ: Mapping[str, str]) -> None:
    """Raises SettingsError for a `TUNEHOOK_…` name that does not exist; it suggests the nearest one."""
    known = {*known_names(), *FOREIGN_NAMES}
    members = {name.upper() for name in UpstreamSettings.model_fields}
    for name in environ:
        if not name.startswith("TUNEHOOK_") or name in known:
            continue
        if name.startswith("TUNEHOOK_UPSTREAMS__"):
            parts = name.split("__")
            if len(parts) == 3 and parts[1] and parts[2] in members:
                continue
            raise SettingsError(
                why=f"{name} is not a setting. An upstream has the members "
                f"{', '.join(sorted(members))}: TUNEHOOK_UPSTREAMS__<NAME>__<MEMBER>"
            )
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)
        raise SettingsError(why=f"{name} is not a setting. Did you mean {nearest[0]}?")


def load() -> Settings:
    """Returns the settings of this process. Raises SettingsError with one line that says what to correct."""
    check_names(os.environ)
    try:
        found = Settings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = [str(part) for part in first["loc"]]
        words = in_words(first)
        if not where:  # about several at once: it names them itself
            raise SettingsError(why=words) from error
        name = where[0]
        if name == "upstreams":  # the nested ones have no variable of that name
            name = "TUNEHOOK_" + "__".join(part.upper() for part in where)
        raise SettingsError(why=f"{name}: {words}") from error
    except Exception as error:  # a nested value that is not even JSON
        raise SettingsError(why=f"The settings cannot be parsed: {error}") from error
    _check_files(found)
    return found


def _check_files(found: Settings) -> None:
    if found.data_dir.exists() and not found.data_dir.is_dir():
        raise SettingsError(why=f"TUNEHOOK_DATA_DIR: {found.data_dir} is a file, and must be a directory")
    if found.prices is not None:
        from tunehook.dataset.prices import BadPriceFile, load_prices  # noqa: PLC0415  (needed by few: 0.1 s)

        try:
            load_prices(found.prices)
        except OSError as error:
            raise SettingsError(why=f"TUNEHOOK_PRICES: {found.prices}: {error.strerror}") from error
        except BadPriceFile as error:
            raise SettingsError(why=f"TUNEHOOK_PRICES: {error}") from error


def require(found: Settings, *fields: str) -> None:
    """Raises SettingsError for a required setting that is missing."""
    if found.has_own_key_for_openai:
        raise SettingsError(why="OPENAI_API_KEY is a Tunehook key (th_…). Set it to the upstream's key.")
    names = {field: name for name, field in known_names().items()}
    for field in fields:
        if not getattr(found, field):
            raise SettingsError(why=f"{names[field]} is not set. {_WHY[field]}")


_WHY = {
    "redis_url": "Set it to the URL of Redis, such as redis://localhost:6379/0, or use `tunehook up`.",
    "secret_key": "It encrypts webhook secrets at rest. `tunehook new-secret` prints a new one.",
}


def environment(**changes: str) -> dict[str, str]:
    """A copy of this process' environment with changes, for the processes that `tunehook up` starts."""
    return {**os.environ, **changes}
