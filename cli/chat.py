"""`tunehook chat`: asks a tuned model, once or in a conversation, and another model beside it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress

import httpx2
from cyclopts import App

from cli.failures import AskedWrongly, CommandFailed
from cli.job_text import Object, job_path
from cli.lines import say, tell
from cli.options import FOUND, AsJson, Service, examples, given
from cli.service_client import ServiceClient
from cli.terminal import print_json

app = App(
    name="chat",
    help_epilogue=examples(
        'chat ftjob-Ab12 "Name a bird species."',
        'chat ftjob-Ab12 "A blue one?" --system "You name birds." --json',
    ),
)


@app.default
def chat(
    model: str,
    prompt: str | None = None,
    /,
    *,
    beside: str | None = None,
    system: str | None = None,
    temperature: float | None = None,
    max_tokens: int | None = None,
    as_json: AsJson = False,
    service: Service = FOUND,
) -> int:
    """Ask a tuned model. Without a question, it is read from the pipe, or a conversation begins.

    Args:
        model: its name, or the id of the job that made it
        prompt: the question
        beside: another model, or job, that is asked the same
        system: the system message
        temperature: 0 to 2
        max_tokens: the longest answer
        as_json: the API's answers, unchanged
    """
    asked = given({"temperature": temperature, "max_tokens": max_tokens})
    with ServiceClient.from_arguments(service) as client:
        models = [_name(client, one) for one in (model, beside) if one]
        talks = {name: [_message("system", system)] if system else [] for name in models}
        if prompt is None and sys.stdin.isatty():
            return _conversation(client, talks, asked)
        question = sys.stdin.read() if prompt is None else prompt
        if not question.strip():
            raise AskedWrongly(why="The question is empty. Write it behind the model, in quotes.")
        for talk in talks.values():
            talk.append(_message("user", question))
        if as_json:
            found = [client.post("/chat/completions", _body(name, talk, asked)) for name, talk in talks.items()]
            print_json(found if beside else found[0])
            return 0
        for name, talk in talks.items():
            _ask(client, name, talk, asked, named=len(models) > 1)
    return 0


def _name(client: ServiceClient, asked: str) -> str:
    """Returns the model of a job, or the name that was given. Raises AskedWrongly."""
    if not asked.startswith("ftjob-"):
        return asked
    job = client.get(job_path(asked))
    if not job["fine_tuned_model"]:
        raise CommandFailed(why=f"{asked} is {job['status']} and has no model. `tunehook watch {asked}` follows it.")
    return str(job["fine_tuned_model"])


def _message(role: str, content: str) -> Object:
    return {"role": role, "content": content}


def _body(model: str, talk: list[Object], asked: Object) -> Object:
    return {"model": model, "messages": talk, **asked}


def _conversation(client: ServiceClient, talks: dict[str, list[Object]], asked: Object) -> int:
    with suppress(ImportError):
        import readline  # noqa: F401, PLC0415  (gives input() its history and editing)
    say(f"{' and '.join(talks)}. Ctrl-D ends.")
    while True:
        try:
            question = input("> ").strip()
        except EOFError:
            tell()
            return 0
        if not question:
            continue
        for name, talk in talks.items():
            talk.append(_message("user", question))
            talk.append(_message("assistant", _ask(client, name, talk, asked, named=len(talks) > 1)))


def _ask(client: ServiceClient, model: str, talk: list[Object], asked: Object, *, named: bool) -> str:
    """Prints the answer as it comes; returns it."""
    if named:
        tell(f"{model}:")
    answer = ""
    for piece in _pieces(client, _body(model, talk, asked) | {"stream": True}):
        answer += piece
        tell(piece, end="")
    tell("\n" if named else "")
    return answer


def _pieces(client: ServiceClient, body: Object) -> Iterator[str]:
    with client.opened("POST", "/chat/completions", body=body) as answer:
        for event in httpx2.EventSource(answer):
            if event.data == "[DONE]":
                return
            chunk = event.json()
            if isinstance(chunk, dict):
                if isinstance(failure := chunk.get("error"), dict):
                    raise CommandFailed(why=f"The answer broke off: {failure.get('message')}")
                for choice in chunk.get("choices") or ():
                    yield (choice.get("delta") or {}).get("content") or ""
