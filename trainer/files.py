"""The routes below /files and /uploads."""

import asyncio
import hashlib
import json
import re
import time
import uuid

from aiohttp import web

from trainer import folders, views
from trainer.app_keys import PROJECT, STORE, run
from trainer.records import File, Upload, dump
from trainer.store import Store
from wire import shapes
from wire.bodies import COMPLETE_UPLOAD, UPLOAD
from wire.checking import one_of
from wire.http import check_query, listed, page, read_json, read_limit, reply
from wire.multipart import check_file, file_of, part_of
from wire.problems import Problem, bad

_CHUNK = 256 * 2**10
_PART = re.compile(r"part-[0-9a-f]{24}")


def new_id(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex[:24]}"


class _Arriving:
    """An `Incoming` that is written on a thread."""

    def __init__(self, store: Store) -> None:
        self.incoming = store.incoming()

    @property
    def size(self) -> int:
        return self.incoming.size

    async def append(self, chunk: bytes) -> None:
        await asyncio.to_thread(self.incoming.write, chunk)

    def close(self) -> None:
        asyncio.get_running_loop().run_in_executor(None, self.incoming.close)


async def create(request: web.Request) -> web.StreamResponse:
    await run(request, Store.check_room)
    filename, purpose, expires, arriving = await file_of(request, lambda: _Arriving(request.app[STORE]))
    made = await _accept(request, new_id("file"), arriving.incoming, filename, purpose, expires)
    return reply(views.file(made))


async def _accept(
    request: web.Request, file_id: str, incoming: folders.Incoming, filename: str, purpose: str, expires: int | None
) -> File:
    try:
        check_file(filename, purpose, incoming.size)
    except Problem:
        await asyncio.to_thread(incoming.close)
        raise
    now = time.time()
    found = File(
        id=file_id,
        project=request[PROJECT],
        created_at=now,
        filename=filename,
        purpose=purpose,
        size=incoming.size,
        expires_at=None if expires is None else now + expires,
        dataset=None,
    )
    return await run(request, lambda store: store.add_file(found, incoming.end()))


async def list_files(request: web.Request) -> web.StreamResponse:
    check_query(request, "purpose", "limit", "order", "after")
    found = await run(request, lambda store: store.files_of(request[PROJECT]))
    if "purpose" in request.query:
        found = [file for file in found if file.purpose == request.query["purpose"]]
    order = request.query.get("order", "desc")
    one_of("asc", "desc")(order, "order")
    if order == "desc":
        found.reverse()
    shown, more = page(request, found, lambda file: file.id, limit=read_limit(request, 10_000, 10_000))
    return listed([views.file(file) for file in shown], more=more, ends=True)


async def retrieve(request: web.Request) -> web.StreamResponse:
    name, project = request.match_info["id"], request[PROJECT]

    def look(store: Store) -> shapes.Row:
        job = store.job_of_result(name, project)
        return views.result_file(store, job) if job else views.file(store.file(name, project))

    return reply(await run(request, look))


async def content(request: web.Request) -> web.StreamResponse:
    name, project = request.match_info["id"], request[PROJECT]
    job = await run(request, lambda store: store.job_of_result(name, project))
    if job is not None:
        made = await run(request, lambda store: views.result_bytes(store, job))
        return web.Response(body=made, content_type="application/octet-stream")
    path = await run(request, lambda store: store.content(store.file(name, project)))
    return web.FileResponse(path, chunk_size=_CHUNK, headers={"Content-Type": "application/octet-stream"})


async def delete(request: web.Request) -> web.StreamResponse:
    name, project = request.match_info["id"], request[PROJECT]
    await run(request, lambda store: store.delete_file(store.file(name, project)))
    return reply({"id": name, "object": "file", "deleted": True})


# ---- uploads


def _status(store: Store, found: Upload) -> tuple[str, File | None]:
    ended = folders.read(store.upload_folder(found.id) / "end.json")
    if ended is not None:
        made = ended.get("file")
        with_file = made and str(ended["status"]) == "completed"
        return str(ended["status"]), store.file(str(made), found.project) if with_file else None
    return "expired" if time.time() >= found.created_at + shapes.UPLOAD_SECONDS else "pending", None


def _shown(store: Store, found: Upload) -> shapes.Row:
    status, made = _status(store, found)
    return shapes.upload(
        found.id,
        found.filename,
        found.purpose,
        size=found.size,
        created=found.created_at,
        status=status,
        made=views.file(made) if made else None,
    )


async def begin_upload(request: web.Request) -> web.StreamResponse:
    body = await read_json(request)
    UPLOAD(body, "")
    await run(request, Store.check_room)
    expires = body.get("expires_after")
    found = Upload(
        id=new_id("upload"),
        project=request[PROJECT],
        created_at=time.time(),
        filename=str(body["filename"]),
        purpose=str(body["purpose"]),
        size=int(str(body["bytes"])),
        expires_after=expires["seconds"] if isinstance(expires, dict) else None,
    )
    place = request.app[STORE].upload_folder(found.id)
    await run(request, lambda _: folders.make(place, lambda folder: dump(found, folder, "upload.json")))
    return reply(await run(request, lambda store: _shown(store, found)))


async def _pending(request: web.Request) -> Upload:
    """Raises Problem 404 for an unknown upload, 400 for one that is over."""
    name = request.match_info["id"]

    def look(store: Store) -> Upload:
        found = store.upload(name, request[PROJECT])
        if found is None:
            raise Problem(404, f"No such Upload object: {name}", None, "id")
        status, _ = _status(store, found)
        if status != "pending":
            raise bad(f"Upload {name} is {status}.", param="id", code="invalid_state")
        return found

    return await run(request, look)


async def add_part(request: web.Request) -> web.StreamResponse:
    await run(request, Store.check_room)
    found = await _pending(request)
    arriving = await part_of(request, lambda: _Arriving(request.app[STORE]))
    name = new_id("part")

    def keep(store: Store) -> None:
        path = arriving.incoming.end()
        folders.sync(path)
        path.rename(store.upload_folder(found.id) / name)

    await _pending(request)  # it may have been cancelled while the bytes came
    await run(request, keep)
    row = {"id": name, "object": "upload.part", "created_at": int(time.time()), "upload_id": found.id}
    return reply(row)


async def complete_upload(request: web.Request) -> web.StreamResponse:
    body = await read_json(request)
    COMPLETE_UPLOAD(body, "")
    found, names = await _pending(request), body["part_ids"]
    parts = [str(name) for name in names] if isinstance(names, list) else []
    joined = await run(request, lambda store: _join(store, found, parts, body.get("md5")))
    name = found.id.replace("upload-", "file-")  # completed twice, it is one file
    made = await _accept(request, name, joined, found.filename, found.purpose, found.expires_after)
    await run(request, lambda store: _end(store, found, {"status": "completed", "file": made.id}))
    return reply(await run(request, lambda store: _shown(store, found)))


def _join(store: Store, found: Upload, names: list[str], md5: object) -> folders.Incoming:
    folder = store.upload_folder(found.id)
    for name in names:
        if not _PART.fullmatch(name) or not (folder / name).is_file():
            raise bad(f"No such part of {found.id}: {name}", param="part_ids", code="invalid_value")
    whole, digest = store.incoming(), hashlib.md5(usedforsecurity=False)
    try:
        size = sum((folder / name).stat().st_size for name in names)
        if size != found.size:
            words = f"The parts have {size} bytes; the upload was announced with {found.size}."
            raise bad(words, param="part_ids", code="invalid_upload_size")
        for name in names:
            with (folder / name).open("rb") as part:
                while chunk := part.read(_CHUNK):
                    whole.write(chunk)
                    digest.update(chunk)
    except FileNotFoundError as gone:  # another request has completed or cancelled it
        whole.close()
        raise bad(f"Upload {found.id} is over.", param="id", code="invalid_state") from gone
    if md5 is not None and md5 != digest.hexdigest():
        whole.close()
        raise bad("The md5 of the parts differs from the one given.", param="md5", code="invalid_value")
    return whole


def _end(store: Store, found: Upload, row: folders.Row) -> None:
    """Ends an upload and removes its parts."""
    folder = store.upload_folder(found.id)
    folders.write(folder / "end.json", json.dumps(row))
    for part in folder.glob("part-*"):
        part.unlink()


async def cancel_upload(request: web.Request) -> web.StreamResponse:
    found = await _pending(request)
    await run(request, lambda store: _end(store, found, {"status": "cancelled"}))
    return reply(await run(request, lambda store: _shown(store, found)))
