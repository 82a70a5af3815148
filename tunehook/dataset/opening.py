"""Opening: what the first lines of a file show, which is what the file is and its format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tunehook.dataset.findings import Findings, shown
from tunehook.dataset.formats import Format, Judged, detect
from tunehook.dataset.shapes import other_kind
from tunehook.dataset.strict_json import parse, too_intricate

_BOM = b"\xef\xbb\xbf"
Lines = Sequence[bytes | int]  #: an int is the length of a line that is too long to be kept


@dataclass(frozen=True, slots=True)
class Opening:
    """`lines`: the first ones, to be checked; None if the file is no JSONL."""

    format: Format
    lines: Lines | None


def read_opening(lines: Lines, told: Format | None, judged: Judged | None, findings: Findings) -> Opening:
    """Finds the format, unless it was told, and adds the findings on the file as a whole. Checks no line."""
    first = lines[0] if lines else b""
    if isinstance(first, bytes) and first.startswith(_BOM):
        findings.add("byte_order_mark", 1, "$", "The file begins with the bytes EF BB BF.")
        first = first.removeprefix(_BOM)
        lines = [first, *lines[1:]]
    sample = [line for line in lines if isinstance(line, bytes)]
    values = [p.value for p in map(parse, (x for x in sample if not too_intricate(x))) if p.usable]
    form = told or detect(values, judged)
    other = other_kind(sample, values)
    # A format that was told may be wished for lines of another shape: each is then said to be no such line.
    if other is not None and not (told and values):
        findings.add(other[0], None, "$", other[1])
        return Opening(form, None)
    if isinstance(first, bytes) and first.strip() and not too_intricate(first):
        _doubt(first, findings)
    return Opening(form, lines)


def _doubt(first: bytes, findings: Findings) -> None:
    """Says that a file does not begin as JSONL does."""
    start, parsed = first.strip(), parse(first)
    listed = isinstance(parsed.value, list) and bool(parsed.value) and isinstance(parsed.value[0], dict)
    broken = not parsed.usable and (start == b"{" or start[:1] != b"{")
    if listed or broken:
        told = shown(start[:40].decode(errors="replace"))
        findings.add("not_jsonl", 1, "$", f"The file begins with {told}, which is no JSON object.")
