"""What the simulator can be told. Only this module reads the environment (names TUNEHOOK_SIMULATOR_…)."""

import base64
import binascii
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Config(BaseModel):
    """One simulator. Seconds are seconds of its clock; `speed` shortens training only."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=4010, ge=0, le=65535)
    speed: float = Field(default=1.0, gt=0, description="how many times faster than life it trains")
    slots: int = Field(default=3, ge=0, description="unfinished jobs allowed at once at /v1; 0: any number")
    keys: tuple[str, ...] = Field(default=(), description="accepted API keys; empty: any non-empty one")
    webhook_url: str | None = Field(default=None, description="where the ends of /v1 jobs are posted")
    webhook_secret: str | None = Field(default=None, description="whsec_…, signs what is posted")
    model_delay: float = Field(default=0.0, ge=0, description="a fresh model is 'not found' for so long")
    file_delay: float = Field(default=0.0, ge=0, description="a fresh file is 'being processed' for so long")
    organization: str = "org-simulated"
    azure_running: int = Field(default=3, ge=1)
    azure_queued: int = Field(default=20, ge=0)
    azure_deployed: bool = Field(default=False, description="tuned models answer chat below /openai/v1 too")

    @model_validator(mode="after")
    def _webhook_is_whole(self) -> Self:
        if bool(self.webhook_url) != bool(self.webhook_secret):
            raise ValueError("webhook_url and webhook_secret go together: set both or neither")
        if self.webhook_secret:
            try:
                key = base64.b64decode(self.webhook_secret.removeprefix("whsec_"), validate=True)
            except binascii.Error as error:
                raise ValueError("webhook_secret must be whsec_<base64>") from error
            if not self.webhook_secret.startswith("whsec_") or not key:
                raise ValueError("webhook_secret must be whsec_<base64>")
        return self


class _Environment(Config, BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="TUNEHOOK_SIMULATOR_", extra="ignore", frozen=True, env_ignore_empty=True
    )


def from_environment(**given: Any) -> Config:
    """Config from what is given, then the environment, then the defaults.

    Raises pydantic.ValidationError when a value is malformed."""
    return Config(**_Environment(**given).model_dump())
