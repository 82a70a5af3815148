"""What a grader reads of the lines must be in every line."""

import time
from typing import Any

import pytest

from tests.unit.dataset.lines import jsonl, report_of
from tunehook.dataset.items import check_grader, item_paths

MESSAGES = [{"role": "user", "content": "Name a bird."}]
LINES = [
    {"messages": MESSAGES, "answer": "wren", "meta": {"tier": 1, "place": {"name": "hedge"}}, "rare": 1},
    {"messages": MESSAGES, "answer": "owl", "meta": {"tier": 2, "place": None}, "rare": 1},
    {"messages": MESSAGES, "answer": "kite", "meta": {"tier": 3, "place": {}}},
]


def grade(reference: str) -> dict[str, Any]:
    return {
        "type": "string_check",
        "name": "g",
        "input": "{{ sample.output_text }}",
        "operation": "eq",
        "reference": reference,
    }


def lacking(grader: Any) -> list[tuple[int | None, str, str]]:
    report = report_of(jsonl(*LINES), "reinforcement")
    assert report.item_keys == ["answer", "messages", "meta", "meta.place", "meta.tier"]
    found = check_grader(grader, report.item_keys, report.missing_since)
    assert {f.code for f in found} <= {"grader_item_missing"}
    return [(f.line, f.path, f.message) for f in found]


@pytest.mark.parametrize(
    "reference",
    ["{{item.answer}}", "{{ item.meta.tier }}", "{{ item['meta']['tier'] }}", "{{ item.messages[0] }}", "item.nowhere"],
)
def test_what_is_there(reference: str) -> None:
    assert lacking(grade(reference)) == []


@pytest.mark.parametrize(
    ("reference", "line", "path"),
    [
        ("{{ item.rare }}", 3, "rare"),
        ("{{ item.anser }}", 1, "anser"),
        ("is {{ item.meta.place.name }}?", 2, "meta.place.name"),
        ("{{ item.answer }} {{ item['rare'] | upper }}", 3, "rare"),
    ],
)
def test_what_is_not_there_is_named_with_its_line(reference: str, line: int, path: str) -> None:
    said = f"The grader reads item.{path}, which line {line} does not have."
    assert lacking(grade(reference)) == [(line, "$.reference", said)]


def test_graders_within_graders_are_read_and_python_source_is_not() -> None:
    code = {"type": "python", "name": "p", "source": "def grade(sample, item):\n    return '{{ item.code }}'"}
    multi = {"type": "multi", "graders": {"a": grade("{{ item.rare }}"), "b": code}, "calculate_output": "a + b"}
    assert [path for _, path, _ in lacking(multi)] == ["$.graders.a.reference"]
    model = {"type": "score_model", "input": [{"role": "user", "content": "{{ item.gone }}"}]}
    assert [path for _, path, _ in lacking(model)] == ["$.input[0].content"]


def test_a_grader_of_many_braces_is_read_in_one_pass() -> None:
    """They come in a request: a search from each brace to the end took minutes."""
    begun = time.process_time()
    assert item_paths(grade("{{ item.a }}" + "{{" * 30_000)) == {"a": "$.reference"}
    deep = "{{ item" + ".a" * 120_000 + " }}"
    assert [len(found.message) < 1100 for found in check_grader(grade(deep), ["answer"], {})] == [True]
    assert time.process_time() - begun < 5


def test_a_long_name_is_not_kept_for_each_member_below_it() -> None:
    long = "k" * 100_000
    line = {"messages": MESSAGES, long: {f"a{n}": 1 for n in range(1000)}, "answer": "owl"}
    assert report_of(jsonl(line), "reinforcement").item_keys == ["answer", "messages"]
    assert item_paths({long: ["{{ item.answer }}"] * 1000}) == {"answer": f"$.{long}"[:1000]}
