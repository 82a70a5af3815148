"""Is this trainable, and what will it cost? Pure: bytes in, a report out. `checker.py` tells the story."""

from tunehook.dataset.checker import Checker, UnknownFormat
from tunehook.dataset.digests import Digests
from tunehook.dataset.findings import CODES, Finding
from tunehook.dataset.formats import FORMATS, Format
from tunehook.dataset.items import check_grader
from tunehook.dataset.report import Report, TokenStatistics, overlap

__all__ = [
    "CODES",
    "FORMATS",
    "Checker",
    "Digests",
    "Finding",
    "Format",
    "Report",
    "TokenStatistics",
    "UnknownFormat",
    "check_grader",
    "overlap",
]
