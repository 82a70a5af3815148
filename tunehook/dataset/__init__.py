"""Datasets: checks them, counts tokens, estimates costs. Pure. Read checker.py first."""

from tunehook.dataset.build import Built, build, build_from
from tunehook.dataset.checker import Checker, UnknownFormat
from tunehook.dataset.digests import Digests
from tunehook.dataset.estimate import BadEpochs, Estimate, NotCounted, default_epochs, estimate
from tunehook.dataset.findings import CODES, Finding
from tunehook.dataset.formats import FORMATS, Format
from tunehook.dataset.items import check_grader
from tunehook.dataset.prices import METHODS, BadPriceFile, Method, Price, Prices, load_prices
from tunehook.dataset.report import Report, TokenStatistics, overlap
from tunehook.dataset.rows import CannotBuild, Dropped
from tunehook.dataset.sources import KINDS, Source, kind_for, kind_of

__all__ = [
    "CODES",
    "FORMATS",
    "KINDS",
    "METHODS",
    "BadEpochs",
    "BadPriceFile",
    "Built",
    "CannotBuild",
    "Checker",
    "Digests",
    "Dropped",
    "Estimate",
    "Finding",
    "Format",
    "Method",
    "NotCounted",
    "Price",
    "Prices",
    "Report",
    "Source",
    "TokenStatistics",
    "UnknownFormat",
    "build",
    "build_from",
    "check_grader",
    "default_epochs",
    "estimate",
    "kind_for",
    "kind_of",
    "load_prices",
    "overlap",
]
