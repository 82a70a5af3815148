"""Datasets that were made here become files like any other: checked, kept, with a report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from tunehook import inspection
from tunehook.dataset import Built
from tunehook.model import File
from tunehook.world import World


@dataclass(frozen=True)
class Made:
    """The files, and what the check found in the one to train on."""

    training: File
    validation: File | None
    report: dict[str, Any]


async def keep(world: World, built: Built, *, project: str, filename: str) -> Made:
    """Writes both files, or none: one alone would be half of what was asked for."""
    training, report = await _keep(world, built.training, project, filename)
    if not built.validation:
        return Made(training, None, report)
    name = PurePath(filename)
    try:
        validation, _ = await _keep(world, built.validation, project, f"{name.stem}.validation{name.suffix}")
    except BaseException:
        await inspection.forget(world, training)
        raise
    return Made(training, validation, report)


async def _keep(world: World, content: bytes, project: str, filename: str) -> tuple[File, dict[str, Any]]:
    incoming = world.shelf.receive(inspection.Inspector(world, project))
    await incoming.open()
    try:
        await incoming.write(content)
        file, report = await inspection.keep(world, incoming, project=project, filename=filename, seconds=None)
        await inspection.enter(world, file)
    finally:
        await incoming.close()
    return file, report.to_dict()
