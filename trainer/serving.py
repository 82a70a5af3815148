"""Serving: what answers chats. It stops while a job trains, where both would need the same GPU."""

from pathlib import Path

from trainer.settings import Config


class Serving:
    """An OpenAI chat URL that others run (`serving_url`)."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._is_open = False

    @property
    def url(self) -> str | None:
        """Where chats go, ending in /v1; None while nothing serves."""
        return self._config.serving_url.rstrip("/") or None if self._is_open else None

    def served_as(self, name: str, folder: Path) -> str:
        """Returns the name of a model there."""
        return name

    async def start(self) -> None:
        self._is_open = True

    async def stop(self) -> None:
        self._is_open = False
