"""Bases: the allow-list of models that may be trained. Nothing else is."""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from wire import shapes

Training = Literal["lora", "full", "qlora"]


class Base(BaseModel):
    """A row of models.json. `path`: a folder; without it the base is fetched from `source` at `commit`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    alias: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    licence: str
    parameters: int
    context: int
    methods: tuple[Literal["supervised", "dpo", "reinforcement"], ...] = ("supervised",)
    training: tuple[Training, ...] = ("lora", "full")
    source: str | None = None
    commit: str | None = None
    path: Path | None = None
    memory_gb: float | None = None
    learning_rates: dict[str, float] = {}

    def folder(self, data_dir: Path) -> Path:
        """Returns where its weights lie, or will lie."""
        return data_dir / "bases" / (self.path or self.alias)

    def is_here(self, data_dir: Path) -> bool:
        return (self.folder(data_dir) / "config.json").is_file()

    def shown(self, data_dir: Path, seconds: float | None, device: str) -> dict[str, object]:
        """Returns it as /v1/models shows it. `seconds`: for a million trained tokens on `device`; None: not known."""
        return shapes.model(self.alias, created=0, owner="system") | {
            "capabilities": {"fine_tune": True, "chat_completion": True},
            "licence": self.licence,
            "parameters": self.parameters,
            "context": self.context,
            "methods": self.methods,
            "training": self.training,
            "memory_gb": self.memory_gb,
            "fetched": self.is_here(data_dir),
            "device": device,
            "seconds_per_million_tokens": seconds,
        }


def load_bases(path: Path) -> dict[str, Base]:
    """Returns alias → base. Raises OSError and ValueError for a file that is none."""
    rows = json.loads(path.read_text("utf-8"))
    found = [Base.model_validate(row) for row in rows["models"]]
    if len({base.alias for base in found}) < len(found):
        raise ValueError(f"{path}: an alias occurs twice")
    return {base.alias: base for base in found}
