"""A job's folder, from inside its training process: what it reads, what it tells, and how it ends."""

import contextlib
import os
import shutil
from pathlib import Path

from trainer import folders
from trainer.records import Job

#: The lock of a folder is tried so long: a sweep holds it for microseconds to see whether it is free.
_LOCK_SECONDS = 10.0
#: What leaves a checkpoint for a model that is served. Everything else there is for going on, and partly pickled.
_SERVED = {".safetensors", ".json", ".jinja", ".txt", ".model"}
_NOT_SERVED = {"trainer_state.json"}
_KEPT_MODELS = 3

#: Figures that a step's event says, in OpenAI's words; its data has all.
_SPOKEN = {
    "train_loss": "training loss",
    "full_valid_loss": "full validation loss",
    "train_mean_reward": "train mean reward",
    "full_valid_mean_reward": "full validation mean reward",
}

Row = folders.Row


class Folder:
    """One job's folder. `hold` it before anything is written. Of several ranks, the first alone writes."""

    def __init__(self, path: Path, *, rank: int = 0, ranks: int = 1) -> None:
        self.path = path.absolute()
        self.is_main = rank == 0
        self.ranks = ranks
        self._told = 0

    def hold(self) -> contextlib.AbstractContextManager[bool]:
        """Locks the folder while the block runs; False there if another process has it."""
        return folders.hold(self.path / "lock", seconds=_LOCK_SECONDS)

    def job(self) -> Job:
        return Job.model_validate_json((self.path / "job.json").read_bytes())

    def wish(self) -> str:
        """Returns what the server wants: "cancel", "pause", or nothing. A job that has an end is not wanted."""
        if (self.path / "result.json").exists():
            return "cancel"
        return folders.control(self.path)

    # ---- events

    def open_events(self) -> None:
        """Cuts a line that a kill left torn, and finds the last step that was told."""
        path = self.path / "events.jsonl"
        with path.open("a+b") as log:
            log.seek(0)
            content = log.read()
            log.truncate(content.rfind(b"\n") + 1)
        self._told = max(self.metrics(), default=0)

    def tell(self, message: str, *, level: str = "info", kind: str = "message", data: Row | None = None) -> None:
        """Appends an event."""
        if self.is_main:
            folders.tell(self.path, message, level=level, kind=kind, data=data, by="events")

    def tell_metrics(self, data: Row) -> None:
        """Tells a step's figures, once: after a resume the steps since the checkpoint are trained again."""
        step = int(data["step"])
        if step <= self._told:
            return
        self._told = step
        figures = [f"{words}={data[name]:.2f}" for name, words in _SPOKEN.items() if name in data]
        if "train_mean_reward" in data:
            del figures[0]
        self.tell(f"Step {step}/{data['total_steps']}: {', '.join(figures)}", kind="metrics", data=data)

    # ---- checkpoints, and the models made of them

    def newest_checkpoint(self) -> Path | None:
        """Returns the newest whole checkpoint, and removes torn ones: a resume from one would fail for ever."""
        whole = folders.whole_checkpoints(self.path)
        for path in self.path.glob("checkpoint-*"):
            if path not in whole.values() and self.is_main:
                shutil.rmtree(path)
        return whole[max(whole)] if whole else None

    def drop(self, checkpoint: Path) -> None:
        """Removes a checkpoint that cannot be read, and its model."""
        shutil.rmtree(checkpoint, ignore_errors=True)  # another rank may do the same
        shutil.rmtree(self.path / "models" / str(folders.step_of(checkpoint)), ignore_errors=True)

    def keep_model(self, checkpoint: Path) -> None:
        """Links the weights of a checkpoint into `models/<step>`, synced; keeps the last three."""
        if not self.is_main:
            return
        for path in [*checkpoint.iterdir(), checkpoint]:
            folders.sync(path)
        models = self.path / "models"
        final, aside = models / str(folders.step_of(checkpoint)), models / ".new"
        if final.exists():  # trained again after a resume: its bytes are the same
            return
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        for path in checkpoint.iterdir():
            if path.suffix in _SERVED and path.name not in _NOT_SERVED:
                os.link(path, aside / path.name)
        aside.rename(final)
        folders.sync(models)
        for old in self.models()[:-_KEPT_MODELS]:
            shutil.rmtree(old)

    def models(self) -> list[Path]:
        """Returns the folders of models, oldest first."""
        return sorted((self.path / "models").glob("[0-9]*"), key=lambda path: int(path.name))

    def metrics(self) -> dict[int, Row]:
        """Returns step → what was told of it."""
        told = [row["data"] for row in folders.lines(self.path / "events.jsonl") if row["type"] == "metrics"]
        return {int(data["step"]): data for data in told}

    # ---- the end

    def succeed(self, trained_tokens: int) -> None:
        """Writes the result, then removes what was kept for going on."""
        metrics = self.metrics()
        checkpoints = [
            {"step_number": int(path.name), "folder": str(path), "metrics": metrics.get(int(path.name), {})}
            for path in self.models()
        ]
        last = checkpoints[-1]["folder"]
        won = {"status": "succeeded", "trained_tokens": trained_tokens, "model_folder": last}
        if folders.finish(self.path, {**won, "checkpoints": checkpoints}):
            for path in self.path.glob("checkpoint-*"):
                shutil.rmtree(path)

    def fail(self, code: str, message: str, param: str | None = None) -> None:
        folders.finish(self.path, folders.failed(code, message, param))
