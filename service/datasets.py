"""/v1/datasets: a dataset made of questions and answers, as `tunehook build` makes it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from service.answers import json_response
from service.limits import check_kept, check_stored_bytes
from service.multipart import Chunk, clean_name, receive
from service.requests import BODY_BYTES, caller_of, context_of, json_object, known_members, required
from tunehook.dataset.build import Built, build_from
from tunehook.dataset.examples import Columns
from tunehook.dataset.process import FairLock
from tunehook.dataset.rows import CannotBuild
from tunehook.dataset.sources import Source, kind_for
from tunehook.errors import InvalidParameter
from tunehook.files import ingest
from tunehook.openai_format.files import dataset_object
from tunehook.openai_format.strict_json import LARGE_MARKS

#: Read into memory as a whole, and taken apart there: 100 MiB and 3 s at worst, so one at a time, in turns by project.
SOURCE_BYTES, MOST_PAIRS, MOST_COLUMNS = 8 * 1024 * 1024, 100_000, 100
BUILDING: web.AppKey[FairLock] = web.AppKey("building", FairLock)
TEXTS = ("system", "filename", "question", "answer", "conversation", "heading", "encoding")
OPTIONS = (*TEXTS, "validation_split", "seed")


@dataclass(frozen=True)
class _Asked:
    source: bytes
    kind: str
    texts: dict[str, str]
    filename: str
    validation_split: float
    seed: int


class _Memory:
    def __init__(self) -> None:
        self.content = bytearray()

    @property
    def bytes(self) -> int:
        return len(self.content)

    async def write(self, chunk: Chunk) -> None:
        self.content += chunk


async def create(request: web.Request) -> web.Response:
    """Makes a dataset from a JSON body with `pairs`, or from a file: CSV, TSV, JSON, JSONL or text."""
    await context_of(request).files.storage.check_room(request.content_length or 0)
    form = request.content_type == "multipart/form-data"
    asked = await (_from_form(request) if form else _from_json(request))
    project = caller_of(request).project
    async with request.app[BUILDING].turn(project):
        built = await asyncio.to_thread(_build, asked, "file" if form else "pairs")
        await check_stored_bytes(request, len(built.training) + len(built.validation))
        made = await ingest.keep_built(context_of(request).files, built, project=project, filename=asked.filename)
    await check_kept(request, *filter(None, (made.training, made.validation)))
    return json_response(dataset_object(made, built))


def _build(asked: _Asked, param: str) -> Built:
    try:
        told = asked.texts
        return build_from(
            [Source(asked.source, asked.kind)],
            system=told.get("system", ""),
            validation_split=asked.validation_split,
            seed=asked.seed,
            columns=Columns(_names(told, "question"), _names(told, "answer"), told.get("conversation")),
            heading=None if "heading" not in told else told["heading"] == "yes",
            encoding=told.get("encoding"),
            at_most=MOST_PAIRS,
        )
    except CannotBuild as error:
        why = str(error).rstrip(".")
        raise InvalidParameter(param=param, why=why[0].lower() + why[1:]) from error


def _names(told: dict[str, str], option: str) -> list[str]:
    """Returns the columns that an option names, each once. Raises InvalidParameter for too many: rows times names."""
    names = {name.strip().lower(): name.strip() for name in told.get(option, "").split(",") if name.strip()}
    if len(names) > MOST_COLUMNS:
        raise InvalidParameter(param=option, why=f"it names {len(names):,} columns; {MOST_COLUMNS} are the most")
    return list(names.values())


async def _from_json(request: web.Request) -> _Asked:
    body = await json_object(request, BODY_BYTES, LARGE_MARKS)
    known_members(body, "pairs", *OPTIONS)
    pairs = required(body, "pairs", list)
    source = (
        await asyncio.to_thread(json.dumps, pairs)
    ).encode()  # with every character escaped: halves of surrogate pairs have no UTF-8
    return _asked(source, "json", {name: body[name] for name in OPTIONS if body.get(name) is not None})


async def _from_form(request: web.Request) -> _Asked:
    """Reads the form, whose fields are texts, numbers too."""
    memory = _Memory()
    form = await receive(request, memory, file="file", optional=OPTIONS, limit=SOURCE_BYTES, field_bytes=64 * 1024)
    options: dict[str, Any] = dict(form.fields)
    for name, number in (("validation_split", float), ("seed", int)):
        if name in options:
            try:
                options[name] = number(options[name])
            except ValueError:
                raise InvalidParameter(param=name, why=f"it must be a number, not {options[name][:40]!r}") from None
    try:
        kind = kind_for(form.filename, bytes(memory.content))
    except CannotBuild as error:
        raise InvalidParameter(param="file", why=f"its kind is told by its name. {str(error).rstrip('.')}") from error
    options.setdefault("filename", f"{form.filename.rpartition('.')[0] or 'dataset'}.jsonl")
    return _asked(bytes(memory.content), kind, options)


def _asked(source: bytes, kind: str, options: dict[str, Any]) -> _Asked:
    texts = {name: options[name] for name in TEXTS if name in options}
    for name, text in texts.items():
        if not isinstance(text, str):
            raise InvalidParameter(param=name, why="it must be a string")
    if texts.get("heading", "yes") not in ("yes", "no"):
        raise InvalidParameter(param="heading", why="it must be yes or no")
    split, seed = options.get("validation_split", 0.0), options.get("seed", 0)
    if not isinstance(split, int | float) or isinstance(split, bool) or not 0 <= split < 1:
        raise InvalidParameter(param="validation_split", why="it must be a number from 0 to less than 1")
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
        raise InvalidParameter(param="seed", why="it must be a whole number from 0")
    return _Asked(source, kind, texts, clean_name(texts.get("filename", "dataset.jsonl")), split, seed)
