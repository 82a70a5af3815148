"""What the checker says of a file as a whole, and of lines that are not JSON."""

import json
from typing import Any

import pytest

from tests.unit.dataset.lines import GOOD, codes_of, good, jsonl
from tunehook.dataset.checker import Checker, UnknownFormat
from tunehook.dataset.report import Report, overlap

TEN = jsonl(*map(good, range(10)))
FIFTY = jsonl(*map(good, range(50)))


def checked(data: bytes, form: str | None = None, **how: Any) -> Report:
    checker = Checker(form, **how)
    checker.feed(data)
    return checker.finish()


def test_a_good_file_has_nothing_to_say() -> None:
    report = checked(FIFTY)
    assert (report.format, report.examples, report.lines, report.size) == ("chat", 50, 50, len(FIFTY))
    assert report.counts == {}
    assert report.ok
    assert report.summary() == ""


@pytest.mark.parametrize(
    ("n", "counts"),
    [
        (0, {"empty_file": 1}),
        (9, {"too_few_examples": 1}),
        (10, {"few_examples": 1}),
        (49, {"few_examples": 1}),
        (50, {}),
    ],
)
def test_how_many_examples_are_needed(n: int, counts: dict[str, int]) -> None:
    assert checked(jsonl(*map(good, range(n)))).counts == counts
    assert checked(jsonl(*map(good, range(n))), minimum=0).counts == ({} if n else {"empty_file": 1})


@pytest.mark.parametrize(
    ("line", "code", "path", "said"),
    [
        (b'{"messages": [', "invalid_json", "$", "character 15"),
        (b"{'messages': []}", "invalid_json", "$", "character 2"),
        (b'{"messages": "\x01"}', "invalid_json", "$", "control character"),
        (b'{"messages": "\xe4"}', "invalid_utf8", "$", "byte 15 (0xe4)"),
        (b'{"messages": "\0"}', "nul_byte", "$", "byte 15"),
        (b'{"a": [1, NaN]}', "not_a_number", "$.a[1]", "NaN"),
        (b'{"a": -Infinity}', "not_a_number", "$.a", "-Infinity"),
        (b'{"a b": "x\\udc00"}', "lone_surrogate", '$["a b"]', "\\udc00 at character 2"),
        (b'{"a": ' + b"7" * 5000 + b"}", "number_too_long", "$.a", "5,000 digits"),
        (b'{"a": ' + b"[" * 300 + b"]" * 300 + b"}", "too_deep", "$.a[0][0]", "200 levels"),
        (b"[" * 100_000, "too_deep", "$", "200 levels"),
    ],
)
def test_lines_that_are_not_strict_json(line: bytes, code: str, path: str, said: str) -> None:
    report = checked(FIFTY + line + b"\n" + jsonl(good(60)))
    assert report.counts == {code: 1}
    assert (report.examples, report.with_errors) == (52, 1)
    (found,) = report.findings
    assert (found.line, found.severity) == (51, "error")
    assert found.path.startswith(path)
    assert said in found.message


def test_duplicate_keys_are_found_though_the_line_would_train() -> None:
    line = (
        b'{"messages": [{"role": "system", "role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]}\n'
    )
    report = checked(FIFTY + line)
    assert report.ok
    assert report.counts == {"duplicate_key": 1, "no_system_message": 1}
    assert [f.path for f in report.findings if f.code == "duplicate_key"] == ["$.messages[0].role"]


def test_line_ends_and_blank_lines() -> None:
    assert checked(FIFTY.replace(b"\n", b"\r\n")).counts == {"crlf": 50}
    report = checked(FIFTY + b"\n \t\r\n" + jsonl(good(50)) + b"\n")
    assert report.counts == {"blank_line": 3, "crlf": 1}
    assert (report.examples, report.lines) == (51, 54)
    assert [f.line for f in report.findings if f.code == "blank_line"] == [51, 52, 54]
    assert checked(FIFTY.rstrip()).counts == {}


def test_a_byte_order_mark_is_one_error_and_the_line_is_still_checked() -> None:
    report = checked(b"\xef\xbb\xbf" + FIFTY)
    assert report.counts == {"byte_order_mark": 1}
    assert report.examples == 50


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (FIFTY.decode().encode("utf-16"), "UTF-16"),
        (FIFTY.decode().encode("utf-16-be"), "UTF-16"),
        (FIFTY.decode().encode("utf-16-le"), "UTF-16"),
        (FIFTY.decode().encode("utf-32"), "UTF-32"),
        (b"PK\x03\x04" + bytes(range(256)) * 9, "ZIP"),
        (b"\x1f\x8b\x08\0\n\n\n", "gzip"),
    ],
)
def test_what_is_no_text_is_said_once(data: bytes, kind: str) -> None:
    report = checked(data)
    assert report.counts == {"wrong_encoding": 1}
    assert kind in report.summary()


@pytest.mark.parametrize(
    "data",
    [
        json.dumps([good(n) for n in range(20)]).encode(),
        json.dumps([good(n) for n in range(20)], indent=2).encode(),
        json.dumps(GOOD, indent=2).encode(),
        b"question,answer\nWhat?,That\n",
    ],
    ids=["array", "indented array", "indented object", "csv"],
)
def test_json_and_csv_are_recognised(data: bytes) -> None:
    report = checked(data)
    assert report.counts["not_jsonl"] == 1
    assert not report.ok


def test_a_line_too_long_is_not_kept() -> None:
    endless = Checker(max_line=1000)
    for _ in range(100):
        endless.feed(b"a" * 100)
    endless.feed(b"\n" + FIFTY)
    report = endless.finish()
    assert report.counts == {"line_too_long": 1}
    assert report.findings[0].message == "10,000 bytes; at most 1,000."
    assert report.examples == 51


@pytest.mark.parametrize(
    "line",
    [
        b'{"messages": [' + b"{}," * 400 + b"{}]}",
        b'{"messages": [' + b"[]," * 400_000 + b"[]]}",
        b"{" + b'"a": 1, ' * 2000 + b'"a": 1}',
        b"[" + b"NaN, " * 2000 + b"NaN]",
    ],
    ids=["many faults", "many brackets", "many duplicate keys", "many that are no number"],
)
def test_a_line_that_would_take_too_much_memory_is_given_up(line: bytes) -> None:
    for data in (line + b"\n" + FIFTY, FIFTY + line + b"\n"):
        report = checked(data)
        assert report.counts["line_too_intricate"] == 1
        assert sum(report.counts.values()) <= 1002
        assert (report.examples, report.with_errors) == (51, 1)


def test_findings_are_counted_in_full_and_listed_up_to_a_limit() -> None:
    bad = b'{"messages": [{"role": "usr", "content": 1}]}\nnot json\n' * 5000
    report = checked(bad, per_code=3)
    assert report.counts == {
        "unrecognized_role": 5000,
        "missing_content": 5000,
        "example_missing_assistant_message": 5000,
        "invalid_json": 5000,
        "no_system_message": 5000,
        "no_user_message": 5000,
    }
    assert (report.examples, report.with_errors, report.errors, report.warnings) == (10_000, 10_000, 20_000, 10_000)
    assert len(report.findings) == 18
    assert [f.line for f in report.findings if f.code == "invalid_json"] == [2, 4, 6]
    assert report.summary().endswith("And 19,997 more.")


def test_duplicates_name_the_first_line_and_count_all() -> None:
    report = checked(FIFTY * 3, per_code=4)
    assert report.counts == {"duplicate_example": 100}
    assert [(f.line, f.message) for f in report.findings] == [
        (51 + n, f"The same example as line {1 + n}.") for n in range(4)
    ]


def test_overlap_of_training_and_validation() -> None:
    training = checked(b"\n" + FIFTY)
    validation = checked(jsonl(good(90), good(3), good(91), good(3)), minimum=0)
    count, found = overlap(training.digests, validation.digests)
    assert count == 2
    assert [(f.line, f.message) for f in found] == [
        (2, "The same example as line 5 of the training file."),
        (4, "The same example as line 5 of the training file."),
    ]
    kept = type(training.digests).from_bytes(training.digests.to_bytes())
    assert overlap(kept, validation.digests) == (count, found)
    validation.note(count, found)
    assert validation.counts["validation_overlap"] == 2
    assert validation.ok


@pytest.mark.parametrize("how_many", [300_000])
def test_duplicates_are_found_in_parts(how_many: int) -> None:
    """More digests than one part holds."""
    digests = checked(b"").digests
    digests.extend(1, [(n % (how_many - 1)) * 0x9E3779B97F4A7C15 % 2**64 or 1 for n in range(how_many)])
    assert list(digests.duplicates()) == [(how_many, 1)]


def test_says_where_it_stopped_looking_for_duplicates() -> None:
    report = checked(FIFTY * 2, compare=70)
    assert report.counts == {"duplicate_example": 20, "duplicates_not_searched": 1}
    assert checked(FIFTY * 2, compare=100).counts == {"duplicate_example": 50}


def test_how_many_lines_may_show_images() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://e.com/a.png"}}
    line = jsonl({"messages": [{"role": "user", "content": [image]}, {"role": "assistant", "content": "A wren."}]})
    assert "too_many_image_examples" not in checked(line * 50_000).counts
    assert checked(line * 50_001).counts["too_many_image_examples"] == 1


CALL: dict[str, Any] = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
PAIR: dict[str, Any] = {
    "input": {"messages": GOOD["messages"][:2]},
    "preferred_output": [{"role": "assistant", "content": "Wren"}],
    "non_preferred_output": [{"role": "assistant", "content": "Stone"}],
}
RFT = {"messages": GOOD["messages"][:2], "answer": "Wren"}
COMPLETION = {"prompt": "Name one:", "completion": " Wren"}


@pytest.mark.parametrize(
    ("example", "form"), [(GOOD, "chat"), (PAIR, "preference"), (RFT, "reinforcement"), (COMPLETION, "completion")]
)
def test_formats_are_told_by_the_first_lines(example: dict[str, Any], form: str) -> None:
    assert codes_of(example, form) == set()
    lines = [b"{broken\n", *(jsonl(example) for _ in range(20))]
    report = checked(b"".join(lines))
    assert report.format == form
    assert {"invalid_json", "duplicate_example", "few_examples"} == set(report.counts)
    assert checked(jsonl({"messages": GOOD["messages"][:2]})).format == "chat", "a chat line that lost its answer"


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(UnknownFormat, match="chat, preference, reinforcement, completion"):
        Checker("chatml")
