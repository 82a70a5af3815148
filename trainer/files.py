"""The routes below /files and /uploads."""

import json
import re
import time

from aiohttp import web

from trainer import folders, views
from trainer.app_keys import PROJECT, STORE, run
from trainer.records import File, Upload, dump
from trainer.store import Store
from wire import shapes
from wire.blob import Blob
from wire.bodies import COMPLETE_UPLOAD
from wire.http import file_page, read_json, reply
from wire.multipart import check_file, file_of, join, part_of
from wire.problems import bad, no_such_upload

_PART = re.compile(r"part-[0-9a-f]{24}")


async def create(request: web.Request) -> web.StreamResponse:
    await run(request, Store.check_room)
    filename, purpose, expires, blob = await file_of(request, request.app[STORE].incoming)
    made = await _accept(request, shapes.new_id("file"), blob, filename, purpose, expires)
    return reply(views.file(made))


async def _accept(
    request: web.Request, file_id: str, blob: Blob, filename: str, purpose: str, expires: int | None
) -> File:
    await check_file(filename, purpose, blob)
    now = time.time()
    found = File(
        id=file_id,
        project=request[PROJECT],
        created_at=now,
        filename=filename,
        purpose=purpose,
        size=blob.size,
        expires_at=None if expires is None else now + expires,
        dataset=None,
    )
    return await run(request, lambda store: store.add_file(found, blob.path))


async def list_files(request: web.Request) -> web.StreamResponse:
    return file_page(request, await run(request, lambda store: store.files_of(request[PROJECT])), views.file)


async def retrieve(request: web.Request) -> web.StreamResponse:
    name, project = request.match_info["id"], request[PROJECT]

    def look(store: Store) -> shapes.Row:
        won = store.job_of_result(name, project)
        return views.result_file(store, *won) if won else views.file(store.file(name, project))

    return reply(await run(request, look))


async def content(request: web.Request) -> web.StreamResponse:
    name, project = request.match_info["id"], request[PROJECT]

    def look(store: Store) -> web.StreamResponse:
        won = store.job_of_result(name, project)
        if won is not None:
            made = views.result_bytes(store, won[0])
            return web.Response(body=made, content_type="application/octet-stream")
        path = store.content(store.file(name, project))
        return web.FileResponse(path, headers={"Content-Type": "application/octet-stream"})

    return await run(request, look)


async def delete(request: web.Request) -> web.StreamResponse:
    name, project = request.match_info["id"], request[PROJECT]
    await run(request, lambda store: store.delete_file(store.file(name, project)))
    return reply(shapes.deleted(name, "file"))


# ---- uploads


def _shown(store: Store, found: Upload) -> shapes.Row:
    ended = folders.read(store.upload_folder(found.id) / "end.json") or {"status": found.unended(time.time())}
    made = ended.get("file")
    return found.shown(str(ended["status"]), views.file(store.file(str(made), found.project)) if made else None)


async def begin_upload(request: web.Request) -> web.StreamResponse:
    found = Upload.of(await read_json(request), time.time(), project=request[PROJECT])
    await run(request, Store.check_room)

    def begin(store: Store) -> shapes.Row:
        folders.make(store.upload_folder(found.id), lambda folder: dump(found, folder, "upload.json"))
        return _shown(store, found)

    return reply(await run(request, begin))


def _pending(store: Store, name: str, project: str) -> Upload:
    """Raises Problem 404 for an unknown upload, 400 for one that is over."""
    found = store.upload(name, project)
    if found is None:
        raise no_such_upload(name)
    found.check_pending(str(_shown(store, found)["status"]))
    return found


async def add_part(request: web.Request) -> web.StreamResponse:
    upload, project, name = request.match_info["id"], request[PROJECT], shapes.new_id("part")

    def look(store: Store) -> Upload:
        store.check_room()
        return _pending(store, upload, project)

    await run(request, look)
    blob = await part_of(request, request.app[STORE].incoming)

    def keep(store: Store) -> shapes.Row:
        found = _pending(store, upload, project)  # it may have been cancelled while the bytes came
        folders.sync(blob.path)
        blob.path.rename(store.upload_folder(upload) / name)
        return found.part(name, time.time())

    return reply(await run(request, keep))


async def complete_upload(request: web.Request) -> web.StreamResponse:
    body = await read_json(request)
    COMPLETE_UPLOAD(body, "")
    upload, project = request.match_info["id"], request[PROJECT]

    def whole(store: Store) -> tuple[Upload, Blob]:
        found, folder = _pending(store, upload, project), store.upload_folder(upload)
        for name in body["part_ids"]:
            if not _PART.fullmatch(name) or not (folder / name).is_file():
                raise bad(f"No such part of {upload}: {name}", param="part_ids", code="invalid_value")
        return found, join(found, [folder / name for name in body["part_ids"]], body.get("md5"), store.incoming)

    found, joined = await run(request, whole)
    name = upload.replace("upload-", "file-")  # completed twice, it is one file
    made = await _accept(request, name, joined, found.filename, found.purpose, found.expires_after)
    return reply(await run(request, lambda store: _end(store, found, {"status": "completed", "file": made.id})))


async def cancel_upload(request: web.Request) -> web.StreamResponse:
    upload, project = request.match_info["id"], request[PROJECT]

    def cancel(store: Store) -> shapes.Row:
        return _end(store, _pending(store, upload, project), {"status": "cancelled"})

    return reply(await run(request, cancel))


def _end(store: Store, found: Upload, row: folders.Row) -> shapes.Row:
    """Ends an upload and removes its parts."""
    folder = store.upload_folder(found.id)
    folders.write(folder / "end.json", json.dumps(row))
    for part in folder.glob("part-*"):
        part.unlink(missing_ok=True)
    return _shown(store, found)
