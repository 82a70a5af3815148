"""Lines to check, and the shortest ways to ask what the checker says of them."""

import json
from typing import Any

from tunehook.dataset.build import Built, build_from
from tunehook.dataset.checker import Checker
from tunehook.dataset.codes import CODES
from tunehook.dataset.report import Report
from tunehook.dataset.sources import Source

GOOD = {
    "messages": [
        {"role": "system", "content": "You name birds."},
        {"role": "user", "content": "Name one."},
        {"role": "assistant", "content": "Wren"},
    ]
}


def good(n: int) -> dict[str, Any]:
    return {"messages": [*GOOD["messages"][:2], {"role": "assistant", "content": f"Bird number {n}"}]}


def jsonl(*examples: Any) -> bytes:
    return b"".join(json.dumps(example).encode() + b"\n" for example in examples)


def report_of(data: bytes, form: str | None = "chat", **how: Any) -> Report:
    checker = Checker(form, **{"minimum": 0, **how})
    checker.feed(data)
    return checker.finish()


def codes_of(example: Any, form: str | None = "chat", *, errors_only: bool = False) -> set[str]:
    """The codes found for one example, a value or raw bytes."""
    report = report_of(example if isinstance(example, bytes) else jsonl(example), form)
    return {code for code in report.counts if not errors_only or CODES[code].severity == "error"}


def build(source: bytes, *, kind: str, **how: Any) -> Built:
    """Makes a dataset of one source."""
    return build_from([Source(source, kind)], **how)
