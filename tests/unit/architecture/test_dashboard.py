"""The dashboard: made by a script, shipped by the chart, about metrics that exist."""

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.unit.architecture import told

ROOT = Path(__file__).parents[3]
FILE = ROOT / "deploy" / "grafana" / "tunehook.json"


def queries() -> list[str]:
    """Returns the PromQL of every panel."""
    panels = json.loads(FILE.read_text("utf-8"))["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def test_the_script_makes_the_same_dashboard() -> None:
    script = FILE.with_name("dashboard.py")
    made = subprocess.run([sys.executable, str(script)], capture_output=True, check=True, timeout=120)
    assert made.stdout == FILE.read_bytes(), "python deploy/grafana/dashboard.py > deploy/grafana/tunehook.json"


def test_the_chart_ships_the_same_dashboard() -> None:
    shipped = ROOT / "deploy" / "helm" / "tunehook" / "files" / FILE.name
    assert shipped.read_bytes() == FILE.read_bytes()


def test_every_query_is_about_metrics_that_exist() -> None:
    known = told.names()
    for query in queries():
        found = re.findall(r"\b(?:tunehook|process)_[a-z_]+", query)
        assert found, query
        assert {name for name in found if name.startswith("tunehook_")} <= known, query


def test_every_family_is_on_the_dashboard() -> None:
    drawn = " ".join(queries())
    assert [name for name in told.families() if name not in drawn] == []
