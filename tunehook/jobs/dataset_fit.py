"""Dataset fit: compares what the check found in a dataset with the job's model, method and grader."""

from __future__ import annotations

import asyncio
from typing import Any

from tunehook.dataset.fit import misfit
from tunehook.dataset.items import check_grader
from tunehook.dataset.prices import Method
from tunehook.dataset.report import overlap
from tunehook.dataset.rules import Rules
from tunehook.errors import FileUnusable, TooFewExamples
from tunehook.files.storage import Storage
from tunehook.model.file import File


async def check(
    storage: Storage,
    training: File | None,
    validation: File | None,
    *,
    model: str,
    method: Method,
    grader: dict[str, Any] | None,
    rules: Rules,
) -> None:
    """Compares both files, as far as they are here and checked, with the job and the upstream's rules.

    Raises FileUnusable.
    """
    for file, param in ((training, "training_file"), (validation, "validation_file")):
        if file is not None:
            _check_file(file, model=model, method=method, param=param, rules=rules)
            if grader is not None:
                await _check_items(storage, file, grader, param)


def _check_file(file: File, *, model: str, method: Method, param: str, rules: Rules) -> None:
    if file.status == "error":
        more = f" (all of it: GET /v1/files/{file.id}/report)" if file.dataset is not None else ""
        raise FileUnusable(id=file.id, why=(file.status_details or "it has errors").rstrip(".") + more, param=param)
    dataset = file.dataset
    if dataset is None:
        return
    why = misfit(dataset.format, model=model, method=method, also=dataset.also)
    if why is not None:
        raise FileUnusable(id=file.id, why=why, param=param)
    if param == "training_file" and dataset.examples < rules.least:
        raise TooFewExamples(id=file.id, examples=dataset.examples, least=rules.least, param=param)
    why = rules.against_images(dataset.image_examples)
    why = why or (rules.against_size(dataset.examples) if param == "training_file" else None)
    if why is not None:
        raise FileUnusable(id=file.id, why=why, param=param)


async def _check_items(storage: Storage, file: File, grader: dict[str, Any], param: str) -> None:
    """Checks that every line has what the grader reads. Raises FileUnusable naming what is missing."""
    report = await storage.reports.read(file.id)
    if report is None:
        return
    missing = check_grader(grader, report["item_keys"], report["missing_since"])
    if missing:
        raise FileUnusable(id=file.id, why=" ".join(found.message for found in missing[:3]).rstrip("."), param=param)


async def shared_examples(storage: Storage, training: File, validation: File) -> str | None:
    """Returns a warning about validation examples that are trained on as well; None if there are none."""

    ours, theirs = [await storage.reports.digests(file.id) for file in (training, validation)]
    if ours is None or theirs is None:
        return None
    count, first = await asyncio.to_thread(overlap, ours, theirs, 1)
    if not count:
        return None
    total = validation.dataset.examples if validation.dataset else count
    line = first[0].line
    return f"{count:,} of {total:,} validation examples are in the training file too; the first is in line {line}."
