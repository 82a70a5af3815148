"""The table of docs/operating.md has every metric, with its labels."""

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.unit.architecture import told

PAGE = Path(__file__).parents[3] / "docs" / "operating.md"


def test_the_table_has_every_metric_and_nothing_else() -> None:
    table = PAGE.read_text("utf-8").partition("| metric | what it says |")[2].partition("\n\n")[0]
    listed = re.findall(r"`(tunehook_[a-z_]+)(?:\{([a-z_,]+)\})?`", table)
    assert {name: set(filter(None, labels.split(","))) for name, labels in listed} == shown()


def shown() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(told.text()):
        if family.name.startswith("tunehook_"):
            name = family.name + ("_total" if family.type == "counter" else "")
            found[name] = {label for sample in family.samples for label in sample.labels} - {"le"}
    return found
