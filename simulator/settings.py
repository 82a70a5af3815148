"""What the simulator can be told. Only this module reads the environment (names TUNEHOOK_SIMULATOR_…)."""

from pydantic import BaseModel, ConfigDict, Field
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


class _Environment(Config, BaseSettings):
    model_config = SettingsConfigDict(env_prefix="TUNEHOOK_SIMULATOR_", extra="ignore", frozen=True)


def from_environment(**given: object) -> Config:
    """Config from what is given, then the environment, then the defaults.

    Raises pydantic.ValidationError when a value is malformed."""
    read = _Environment.model_validate({}) if not given else _Environment(**given)  # type: ignore[arg-type]
    return Config(**read.model_dump())
