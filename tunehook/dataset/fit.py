"""Which format a method trains a model on, and what is said of a file that does not fit. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

from tunehook.dataset.findings import Finding, finding
from tunehook.dataset.formats import Format, Judged
from tunehook.dataset.prices import Method
from tunehook.dataset.report import Report
from tunehook.dataset.tokens import base_model

_SHAPES: dict[Format, str] = {
    "chat": 'lines such as {"messages": [{"role": "user", …}, {"role": "assistant", …}]}',
    "preference": "lines with `input`, `preferred_output` and `non_preferred_output`",
    "reinforcement": "lines whose `messages` end with the user's turn, with members for the grader",
    "completion": 'lines such as {"prompt": "…", "completion": "…"}',
}
_WANTED: dict[Method, Format] = {"supervised": "chat", "dpo": "preference", "reinforcement": "reinforcement"}
#: Models that take prompt and completion, and those of OpenAI that do not. Of others the upstream knows.
_COMPLETING = ("babbage-002", "davinci-002")
_CHATTING = re.compile(r"gpt-|chatgpt|o\d")
#: How OpenAI trains its models, by the beginning of their names. Of others the upstream knows.
_TRAINED_BY: dict[str, tuple[Method, ...]] = {
    r"babbage-002$|davinci-002$|gpt-3\.?5": ("supervised",),
    r"gpt-4": ("supervised", "dpo"),
    r"o\d": ("reinforcement",),
}


@lru_cache(maxsize=256)
def trained_by(model: str) -> tuple[Method, ...]:
    """The methods by which a model is trained; empty if that is not known."""
    base = base_model(model)
    return next((methods for names, methods in _TRAINED_BY.items() if re.match(names, base)), ())


def method_of(form: Format, model: str) -> Method:
    """The method if none is told: as the format says, unless the model is not trained so."""
    by_format: Method = next((method for method, wanted in _WANTED.items() if wanted == form), "supervised")
    known = trained_by(model)
    return by_format if not known or by_format in known else known[0]


def judged_as(model: str | None, method: Method | None) -> Judged | None:
    """Returns by which format lines that fit chat and reinforcement are judged; None if nothing tells."""
    known = (method,) if method else trained_by(model or "")
    if not known:
        return None
    return "reinforcement" if known == ("reinforcement",) else "chat"


def misfit(form: str, *, model: str, method: Method, also: Collection[str] = ()) -> str | None:
    """Why a file of format `form` is not what the method trains this model on; None if it is.

    `also`: other formats that all its lines fit. It goes on a sentence that begins with the file's name.
    """
    base, known = base_model(model), trained_by(model)
    if known and method not in known:
        return f"it holds {form} examples for {method} training, but {base} is trained by {' and '.join(known)} alone"
    wanted = _WANTED[method]
    if method == "supervised" and base in _COMPLETING:
        wanted = "completion"
    elif form == "completion" and method == "supervised" and not _CHATTING.match(base):
        return None
    if form == wanted or wanted in also:
        return None
    of = f" of {base}" if base else ""
    return f"it holds {form} examples, but {method} training{of} needs {wanted} ones: {_SHAPES[wanted]}"


def check_fit(report: Report, *, model: str, method: Method) -> list[Finding]:
    """The one error of a file that the method does not train this model on."""
    why = misfit(report.format, model=model, method=method, also=report.also) if report.examples else None
    return [finding("format_misfit", None, "$", f"The file does not fit: {why}.")] if why else []
