"""Progress: what a training tells while it runs, and how it hears a cancel or a pause."""

import json
import math
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback

from trainer.tune.folder import Folder, Row

#: TRL's names of figures, and OpenAI's.
_NAMES = {
    "loss": "train_loss",
    "mean_token_accuracy": "train_mean_token_accuracy",
    "rewards/accuracies": "train_reward_accuracy",
    "rewards/margins": "train_reward_margin",
    "reward": "train_mean_reward",
    "completions/mean_length": "completion_tokens_mean",
    "learning_rate": "learning_rate",
    "eval_loss": "full_valid_loss",
    "eval_mean_token_accuracy": "full_valid_mean_token_accuracy",
    "eval_reward": "full_valid_mean_reward",
}


class Cancelled(Exception):
    """The job is not wanted any more."""


class Diverged(Exception):
    """The loss is no number any more. Try a smaller learning_rate_multiplier."""


class Progress(TrainerCallback):  # type: ignore[misc]  # its class is typed only where torch is installed
    """The callback of a Trainer."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._row: Row = {}
        self.is_paused = False
        #: The checkpoint that the training goes on from.
        self.resumed: Path | None = None
        self.has_begun = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.resumed is not None:  # its weights were read, so it is whole
            self._catch_up(self.resumed)

    def _catch_up(self, checkpoint: Path) -> None:
        """Does what a kill right after a checkpoint has left undone: tells its steps, and keeps its model."""
        state = json.loads((checkpoint / "trainer_state.json").read_text("utf-8"))
        for figures in state["log_history"]:
            if "loss" in figures:
                self._tell()
            self._add(figures["step"], state["max_steps"], figures)
        self._tell()
        if float(state["epoch"]).is_integer():
            self._folder.keep_model(checkpoint)

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._wish()

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._wish()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.has_begun = True
        self._tell()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self._wish() == "pause" and state.global_step < state.max_steps:
            self.is_paused = True
            control.should_save = control.should_training_stop = True

    def on_log(self, args: Any, state: Any, control: Any, logs: Row, **kwargs: Any) -> None:
        if "loss" in logs or "eval_loss" in logs:
            self._add(state.global_step, state.max_steps, logs)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._tell()
        PartialState().wait_for_everyone()  # each rank saves a file of its own
        if float(state.epoch).is_integer():
            self._folder.keep_model(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._tell()

    def _add(self, step: int, total: int, figures: Row) -> None:
        """Adds figures to the row of a step: its loss comes first, its validation after it."""
        found = {name: float(figures[theirs]) for theirs, name in _NAMES.items() if theirs in figures}
        if not all(map(math.isfinite, found.values())):
            raise Diverged(f"The loss at step {step} is no number. Try a smaller learning_rate_multiplier.")
        if "full_valid_mean_reward" in found:
            del found["full_valid_loss"]  # of answers that were just made: it says nothing
        elif "full_valid_loss" in found:
            found["valid_loss"] = found["full_valid_loss"]
        self._row |= {"step": step, "total_steps": total, **found}

    def _tell(self) -> None:
        if "train_loss" in self._row:
            self._folder.tell_metrics(self._row)
        self._row = {}

    def _wish(self) -> str:
        """Returns "pause" or "", the same in all ranks: they stop at the same step. Raises Cancelled."""
        wish = str(broadcast_object_list([self._folder.wish()])[0])
        if wish == "cancel":
            raise Cancelled
        return wish
