"""The alarms: one file, shown in docs/operating.md, shipped by the chart, about metrics that exist."""

import re
from pathlib import Path
from typing import Any

import yaml

from tests.unit.architecture import told

ROOT = Path(__file__).parents[3]
FILE = ROOT / "deploy" / "prometheus" / "tunehook.rules.yml"


def rules() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(FILE.read_text("utf-8"))["groups"][0]["rules"]
    return found


def table() -> str:
    """Returns the table of docs/operating.md."""
    lines = ["| alarm | when | for | means |", "|---|---|---|---|"]
    for rule in rules():
        expression = rule["expr"].replace("|", "\\|")
        words = rule["annotations"]["means"]
        lines.append(f"| {rule['alert']} | `{expression}` | {rule.get('for', '–')} | {words} |")
    return "\n".join(lines) + "\n"


def test_the_page_shows_every_alarm() -> None:
    assert table() in (ROOT / "docs" / "operating.md").read_text("utf-8")


def test_the_chart_ships_the_same_alarms() -> None:
    shipped = ROOT / "deploy" / "helm" / "tunehook" / "files" / FILE.name
    assert shipped.read_text("utf-8") == FILE.read_text("utf-8")


def test_every_alarm_is_about_metrics_that_exist() -> None:
    known = told.names()
    for rule in rules():
        for name in re.findall(r"tunehook_[a-z_]+", rule["expr"]):
            assert name in known, f"{rule['alert']} is about {name}"
