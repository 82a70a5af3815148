"""docs/datasets.md says what the code says, and every code is one that can happen."""

import re
from pathlib import Path

from tunehook.dataset.codes import CODES

ROOT = Path(__file__).parents[3]
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", re.MULTILINE)


def test_the_tables_of_codes_are_those_of_the_code() -> None:
    text = (ROOT / "docs" / "datasets.md").read_text()
    errors, warnings = text.split("### Errors")[1].split("### Warnings")
    for severity, part in (("error", errors), ("warning", warnings.split("## How tokens")[0])):
        told = [tuple(cell.replace("\\\\", "\\") for cell in row) for row in ROW.findall(part)]
        assert told == [(code, kind.about, kind.hint) for code, kind in CODES.items() if kind.severity == severity]


def test_every_code_is_given_by_some_module_and_held_by_some_test() -> None:
    package = [path for path in (ROOT / "tunehook" / "dataset").glob("*.py") if path.name != "codes.py"]
    tests = [path for path in Path(__file__).parent.glob("test_*.py") if path.name != "test_docs.py"]
    for paths in (package, tests):
        text = "".join(path.read_text() for path in paths)
        assert {code for code in CODES if f'"{code}"' not in text} == set()
