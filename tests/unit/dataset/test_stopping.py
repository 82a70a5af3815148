"""A file that is bad through and through, or empty, costs no more than one that is good."""

import time
from collections.abc import Iterator

import pytest

from tests.unit.dataset.lines import good, jsonl
from tunehook.dataset.checker import MAX_BAD_FINDINGS, MAX_BAD_LINES, MAX_BLANK_LINES, Checker
from tunehook.dataset.report import Report

CHUNK = 256 * 1024


def checked(pieces: Iterator[bytes], **how: int) -> tuple[Report, float]:
    """And the seconds of CPU."""
    began = time.process_time()
    checker = Checker(**how)  # type: ignore[arg-type]
    for piece in pieces:
        checker.feed(piece)
    return checker.finish(), time.process_time() - began


def told(report: Report) -> list[str]:
    return [found.message for found in report.findings if found.code == "checking_stopped"]


@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize("most", [3, 40])
def test_it_stops_after_so_many_bad_lines_and_says_where(step: int, most: int) -> None:
    data = jsonl(*map(good, range(5))) + b"x\n\n" * 50 + jsonl(good(6)) + b"y"
    checker = Checker(most_bad=most)
    for at in range(0, len(data), step):
        checker.feed(data[at : at + step])
    report = checker.finish()
    read = len(jsonl(*map(good, range(5)))) + 3 * most - 1
    assert (report.with_errors, report.lines, report.size) == (most, 5 + 2 * most - 1, len(data))
    assert told(report) == [
        f"Checking stopped after line {report.lines}: {most} lines have errors, with {most} findings. "
        f"{read:,} of {len(data):,} bytes were read; more may follow."
    ]
    assert report.summary().startswith("Checking stopped after line")
    assert "[checking_stopped]. Line 6: " in report.summary()
    assert {"too_few_examples", "few_examples"}.isdisjoint(report.counts)


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_file_with_that_many_is_counted_in_full_if_nothing_follows(end: bytes) -> None:
    bad = b"\n".join([b"x"] * 20)
    report, _ = checked(iter([bad + end]), most_bad=20)
    assert report.counts == {"invalid_json": 20, "not_jsonl": 1, "few_examples": 1}
    assert (report.lines, told(report)) == (20, [])
    assert "40 of 41 bytes" in told(checked(iter([bad, b"\ny"]), most_bad=20)[0])[0]


def test_a_file_of_bad_lines_takes_seconds_however_large_it_is() -> None:
    report, seconds = checked(b"x\n" * (CHUNK // 2) for _ in range(64))
    assert seconds < 6, "8 million lines: it would be 90 s"
    assert report.with_errors == MAX_BAD_LINES
    assert report.size == 64 * CHUNK
    assert "200,000 of 16,777,216 bytes were read; more may follow." in told(report)[0]


def test_so_does_one_whose_lines_have_a_thousand_findings_each() -> None:
    line = b'{"messages": [' + b"{}," * 400 + b"{}]}\n"
    report, _ = checked(line * 100 for _ in range(40))
    assert MAX_BAD_FINDINGS <= report.errors + report.warnings <= MAX_BAD_FINDINGS + 1002
    assert len(told(report)) == 1


@pytest.mark.parametrize("blank", [b"\n", b" \n", b"\r\n", b" \t \n"], ids=["empty", "space", "CR LF", "white"])
def test_blank_lines_cost_no_more_than_bytes(blank: bytes) -> None:
    piece = blank * (1_000_000 // len(blank))
    report, seconds = checked(piece for _ in range(500))
    lines = MAX_BLANK_LINES + 1
    crlf = {"crlf": lines} if b"\r" in blank else {}
    assert report.counts == {"blank_line": lines, "checking_stopped": 1, **crlf}
    assert (report.lines, report.size) == (lines, 500 * len(piece))
    assert told(report) == [
        f"Checking stopped after line {lines:,}: {lines:,} lines are empty. "
        f"{lines * len(blank):,} of {report.size:,} bytes were read; more may follow."
    ]
    assert seconds < 4, "500 MB; one by one it would be 5 to 25 minutes"


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_an_empty_line_after_each_example_stops_nothing(end: bytes) -> None:
    spaced = b"".join(jsonl(good(n)) + b"\n" for n in range(100))
    report, _ = checked(iter([b"\n" * 20 + spaced + end]), most_blank=20)
    assert report.examples == 100
    assert (told(report), report.errors) == ([], 0)
    report, _ = checked(iter([b"\n" * 20 + spaced, b"\n" * 2]), most_blank=20)
    assert told(report) == [
        f"Checking stopped after line 221: 121 lines are empty. {report.size - 1:,} of {report.size:,} bytes "
        "were read; more may follow."
    ]


def test_lines_between_blank_ones_keep_their_numbers() -> None:
    white = (b"\n", b"\r\n", b" \n", b"\t\r\n")
    ahead = b"\n\r\n" * 25
    lines = [white[n % 4] * (n % 7) + line for n, line in enumerate([jsonl(good(n)) for n in range(60)])]
    data = ahead + b"".join(lines) + jsonl(good(7)) + b"a" * 5000 + b"\nx\n \n{}"
    reports = []
    for step in (len(data), 1000, 3):
        checker = Checker(max_line=4000)
        for at in range(0, len(data), step):
            checker.feed(data[at : at + step])
        reports.append(checker.finish())
    assert reports[0] == reports[1] == reports[2]
    all_lines = data.split(b"\n")
    assert reports[0].counts["blank_line"] == sum(not line.strip() for line in all_lines)
    assert reports[0].counts["crlf"] == sum(line.endswith(b"\r") for line in all_lines)
    assert reports[0].lines == len(all_lines)
    where = {found.code: found.line for found in reports[0].findings}
    assert (where["invalid_json"], where["line_too_long"]) == (len(all_lines) - 2, len(all_lines) - 3)
    assert where["duplicate_example"] == len(all_lines) - 4
