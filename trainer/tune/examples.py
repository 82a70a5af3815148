"""Examples: a file of a job → what a Trainer takes. What trains nothing is left out, and told."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy
from datasets import Dataset

from trainer.rows import BadRow
from trainer.tune.folder import Folder, Row
from trainer.tune.labels import IGNORED

Encode = Callable[[Row], dict[str, Any]]


class BadFile(Exception):
    """A training or validation file with an example that cannot be trained."""

    def __init__(self, param: str, words: str) -> None:
        super().__init__(words)
        self.param = param


def examples(folder: Folder, param: str, name: str, encode: Encode) -> Dataset:
    """Returns the rows of a file, encoded. Leaves out those that train nothing, and tells so. Raises BadFile."""
    columns: dict[str, list[Any]] = {}
    left_out, spoken = 0, param.replace("_", " ")
    for number, row in _rows(folder.path / name):
        try:
            encoded = encode(row)
        except BadRow as error:
            raise BadFile(param, f"Example {number} of the {spoken}: {error}.") from error
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise BadFile(param, f"Example {number} of the {spoken} cannot be read: {error!r}") from error
        if not _trains(encoded):
            left_out += 1
            continue
        for column, value in encoded.items():
            columns.setdefault(column, []).append(value if isinstance(value, str) else numpy.array(value, numpy.int32))
    reasons = "what the assistant says has weight 0, lies beyond the context, or is the same in both outputs"
    if not columns:
        raise BadFile(param, f"No example of the {spoken} trains anything: {reasons}.")
    if left_out:
        words = f"{left_out} examples of the {spoken} train nothing, and were left out: {reasons}."
        folder.tell(words, level="warn")
    return Dataset.from_dict(columns)


def _trains(encoded: dict[str, Any]) -> bool:
    if "labels" in encoded:
        return any(label != IGNORED for label in encoded["labels"])
    if "prompt" in encoded:
        return bool(encoded["prompt"])
    return bool(encoded["chosen_ids"] != encoded["rejected_ids"])


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    with path.open("rb") as lines:
        number = 0
        for line in lines:
            if line.strip():
                number += 1
                yield number, json.loads(line)


def tokens(dataset: Dataset) -> int:
    """Returns the tokens of an epoch: of a pair of answers, the prompt counts with each."""
    if "input_ids" in dataset.column_names:
        return sum(map(len, dataset["input_ids"]))
    pairs = zip(dataset["prompt_ids"], dataset["chosen_ids"], dataset["rejected_ids"], strict=True)
    return sum(2 * len(prompt) + len(chosen) + len(rejected) for prompt, chosen, rejected in pairs)
