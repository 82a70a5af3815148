"""`tunehook files`: files of the project, and the reports of their checks."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from cli import times
from cli.dataset_text import report_text
from cli.failures import AskedWrongly, naming
from cli.job_text import Object
from cli.kinds import Kind
from cli.lines import say, tell
from cli.options import FOUND, AsJson, Service, examples
from cli.service_client import ServiceClient, each
from cli.terminal import PLAIN, Shape, confirmed, print_json
from cli.training_file import file_path
from cli.upload import upload as send
from tunehook.dataset.report import Report

app = App(
    name="files",
    help="List, upload, read and delete files.",
    help_epilogue=examples("files upload train.jsonl", "files list"),
)
HEAD = ("FILE", "STATUS", "NAME", "BYTES", "PURPOSE", "CREATED", "NOTE")


def _row(file: Object) -> tuple[object, ...]:
    created = times.shown(file["created_at"])
    return (
        file["id"], file["status"], file["filename"], file["bytes"], file["purpose"], created, file["status_details"]
    )  # fmt: skip


@app.default
@app.command(name="list", help_epilogue=examples("files list", "files list --purpose fine-tune --json"))
def list_files(*, purpose: str | None = None, limit: int = 20, shape: Shape = PLAIN, service: Service = FOUND) -> int:
    """List files, newest first.

    Args:
        purpose: only of this purpose, such as fine-tune
        limit: so many at most; 0: all (default: 20)
    """
    with ServiceClient.from_arguments(service) as client:
        every = client.pages("/files", limit=min(limit, 1000) or 1000, purpose=purpose)
        found = list(islice(every, limit or None))
    FILE.print_list(found, shape, "No files yet. `tunehook files upload train.jsonl` keeps one.")
    return 0


def _facts(file: Object) -> dict[str, object]:
    return {
        "file": file["id"],
        "status": file["status"],
        "why": file["status_details"],
        "name": file["filename"],
        "bytes": file["bytes"],
        "purpose": file["purpose"],
        "created": times.shown(file["created_at"]),
        "expires": times.shown(file["expires_at"]),
    }


FILE = Kind("file", file_path, HEAD, _row, _facts)
FILE.show(app, "Show a file.", "files show file-Ab12", "files show file-Ab12 --json")


@app.command(help_epilogue=examples("files upload train.jsonl", "files upload train.jsonl --quiet"))
def upload(path: Path, /, *, shape: Shape = PLAIN, service: Service = FOUND) -> int:
    """Upload a training file, in parts if it is larger than 16 MB.

    Args:
        path: a dataset, JSONL
    """
    with ServiceClient.from_arguments(service) as client, naming(path):
        found = send(client, path)
    FILE.print(found, shape)
    if found["status"] == "error":
        say(f"It cannot be trained on. `tunehook files report {found['id']}` says why.")
    return int(found["status"] == "error")


@app.command(help_epilogue=examples("files download file-Ab12", "files download file-Ab12 --output copy.jsonl"))
def download(
    file: str, /, *, output: Annotated[Path | None, Parameter(name=("--output", "-o"))] = None, service: Service = FOUND
) -> int:
    """Print a file's content, or write it to a file.

    Args:
        file: its id
        output: where it is written (default: standard output)
    """
    with ServiceClient.from_arguments(service) as client, client.opened("GET", file_path(file, "content")) as answer:
        if output is None:
            for chunk in answer.iter_bytes():
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
        else:
            with naming(output), output.open("wb") as target:
                for chunk in answer.iter_bytes():
                    target.write(chunk)
    return 0


@app.command(help_epilogue=examples("files report file-Ab12", "files report file-Ab12 --json"))
def report(file: str, /, *, as_json: AsJson = False, service: Service = FOUND) -> int:
    """Print the report of a dataset's check.

    Exit status: 0 no errors, 1 the dataset has errors.

    Args:
        file: its id
        as_json: the API's object
    """
    with ServiceClient.from_arguments(service) as client:
        found = client.get(file_path(file, "report"))
        name = client.get(file_path(file))["filename"]
    if as_json:
        print_json(found)
    else:
        for line in report_text(name, Report.from_dict(found)):
            tell(line)
    return 0 if found["ok"] else 1


@app.command(help_epilogue=examples("files delete file-Ab12 --yes", "files delete file-Ab12 file-Cd34 --yes"))
def delete(*file: str, yes: bool = False, service: Service = FOUND) -> int:
    """Delete files.

    Args:
        file: their ids
        yes: do not ask
    """
    if not file:
        raise AskedWrongly(why="Name a file: tunehook files delete file-…")
    if not confirmed(f"Delete {', '.join(file)}?", yes=yes, done="deleted"):
        return 1
    with ServiceClient.from_arguments(service) as client:
        deleted, status = each(file, lambda one: client.delete(file_path(one)))
    for one in deleted:
        tell(one["id"])
    return status
