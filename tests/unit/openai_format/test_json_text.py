"""JSON as JavaScript writes it."""

import cProfile
import json
import math
import shutil
import subprocess
from typing import Any

import pytest

from tunehook.openai_format.json_text import compact, spaced

VALUES = [
    {"usd_per_million_tokens": 5.0, "nested": [{"x": 3.0}, [1.5, -2.0, -0.0, 0.1]], "text": "5.0 and 1e-05 ü \u2028"},
    {"metrics": {"train_loss": 1e-05, "least": 1.5e-7, "tiny": 5e-324, "step": 12.0}},
    [1e16, 1e20, 123456789012345680.0, 1e21, 1.5e300, 0.000001, 0.0000015, 1 / 3, 2**53],
    {"created_at": 1795343100, "none": None, "yes": True, "empty": {}, "list": []},
    0.0,
]


@pytest.mark.parametrize("value", VALUES)
def test_it_reads_back_as_the_same(value: Any) -> None:
    assert json.loads(compact(value)) == json.loads(spaced(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [(5.0, "5"), (1e-05, "0.00001"), (1e-07, "1e-7"), (0.0349, "0.0349"), (1e16, "10000000000000000"), (-0.0, "0")],
)
def test_numbers(value: float, text: str) -> None:
    assert (compact([value]), spaced({"n": value})) == (f"[{text}]", f'{{"n": {text}}}')


def test_what_is_no_number_stays_as_before() -> None:
    assert compact([math.nan]) == "[NaN]"


def calls(value: Any) -> int:
    """Returns how many functions are called to write it."""
    profile = cProfile.Profile()
    profile.runcall(spaced, value)
    return sum(entry.callcount for entry in profile.getstats())


@pytest.mark.parametrize("text", ["file-0abc", "http://127.0.0.1:9/hook", "gpt-4.05e-x"])
def test_a_text_that_only_looks_like_a_number_costs_nothing(text: str) -> None:
    assert calls([[text] * 100]) == calls([["plain"] * 100])


def test_a_whole_price_is_not_written_part_by_part() -> None:
    plain = ["plain"] * 100
    assert calls([[5.0, *plain]]) < calls([[1e-05, *plain]]) / 2


@pytest.mark.skipif(not shutil.which("node"), reason="node writes what is expected")
def test_javascript_writes_the_same() -> None:
    texts = [compact(value) for value in VALUES]
    again = "JSON.parse(process.argv[1]).map(text => JSON.stringify(JSON.parse(text)))"
    code = f"process.stdout.write(JSON.stringify({again}))"
    done = subprocess.run(["node", "-e", code, json.dumps(texts)], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == texts
