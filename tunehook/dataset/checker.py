"""Checker: reads a dataset in chunks and gives a report. Read this file for how a line is judged.

Each line is decoded fast. A chat line that is plainly good (texts and answered tool calls of known roles, ending with
an answer) is counted at once. All others, and those that the fast decoder refuses, go through `_judge`, which knows
every rule. Both ways give the same report (tests/unit/dataset/test_fast_and_careful.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Literal

from tunehook.dataset.codes import has_error
from tunehook.dataset.digests import MAX_LINES, Digests, counted
from tunehook.dataset.findings import Findings, plural
from tunehook.dataset.formats import FORMATS, NO_SYSTEM, Format, Judged, check_line, ends_open
from tunehook.dataset.items import ItemKeys
from tunehook.dataset.opening import read_opening
from tunehook.dataset.plain import SYSTEM, digest_of, plain_digest
from tunehook.dataset.report import Distribution, Report
from tunehook.dataset.splitting import LineSplitter
from tunehook.dataset.strict_json import LONG, MAX_FOUND, TOO_MANY, Found, fast, parse, too_intricate
from tunehook.dataset.token_totals import TokenTotals

MIN_EXAMPLES, ADVISED_EXAMPLES = 10, 50
MAX_LINE_BYTES = 16 << 20
MAX_IMAGE_EXAMPLES = 50_000
# A good line costs its bytes; a bad one 11 µs and 1 µs a finding, however short it is: 512 MB of "x" and line ends
# would take 50 minutes, so checking stops here.
MAX_BAD_LINES, MAX_BAD_FINDINGS = 100_000, 1_000_000
# An empty line takes 3 µs and one byte, so 512 MB of them would take 25 minutes. A file may have so many more empty
# lines than examples; one after each example is common.
MAX_BLANK_LINES = 100_000
_SPACE, _CR = b" \t\r", ord("\r")
_DETECT_LINES, _DETECT_BYTES = 10, 1 << 20


class UnknownFormat(ValueError):
    """A dataset's format is chat, preference, reinforcement or completion."""


class _EnoughError(Exception):
    """The line has so many faults that no more are looked for."""


class _EnoughLinesError(Exception):
    """So many lines have errors, or are empty, that the rest is not read."""


class Checker:
    """Checks a dataset that is fed in chunks; any chunking gives the same report.

    `format`: told, or found out from the first lines. `model`: count tokens for it (about ten times slower).
    `judged`: by what lines are judged that may be of the chat and the reinforcement format (see formats.detect).
    `minimum`: fewer examples are an error; 0 for a validation file. `per_code`: findings listed of each code; all are
    counted. `compare`: duplicates are looked for among that many lines. `most_bad`: after so many lines with errors,
    or after `most_blank` more empty lines than examples, it stops, says where, and only counts bytes from there. Memory
    is one line of at most `max_line` bytes, decoded, and 8 bytes for each line compared.
    """

    def __init__(
        self,
        format: str | None = None,
        *,
        model: str | None = None,
        judged: Judged | None = None,
        minimum: int = MIN_EXAMPLES,
        per_code: int = 20,
        max_line: int = MAX_LINE_BYTES,
        compare: int = MAX_LINES,
        most_bad: int = MAX_BAD_LINES,
        most_blank: int = MAX_BLANK_LINES,
    ) -> None:
        if format is not None and format not in FORMATS:
            raise UnknownFormat(f"{format!r} is no format; use one of {', '.join(FORMATS)}.")
        self._format: Format | None = next((f for f in FORMATS if f == format), None)
        self._judged = judged
        self._minimum = minimum
        self._splitter = LineSplitter(max_line)
        self._max_line = max_line
        self._held: list[bytes | int] | None = []  # the first lines, until they have told what the file is
        self._held_size = 0
        self._stopped = False
        self._most_bad, self._most_blank = most_bad, most_blank
        self._bad_findings = 0
        self._read: int | None = None  # up to where, if it stopped on the way
        self._size = self._lines = self._bad = self._image_examples = self._open = 0
        self._findings = Findings(per_code)
        self._digests = Digests(compare)
        self._messages = Distribution()
        self._items = ItemKeys()
        self._tokens = TokenTotals(model, self._findings) if model else None

    def feed(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._stopped:
            return
        for lines in self._splitter.feed(chunk):
            self._take(lines)
            if self._stopped:
                return

    def finish(self) -> Report:
        """Returns the report. Nothing can be fed after it."""
        if not self._stopped:
            self._take(self._splitter.finish())
        if self._held is not None:
            self._check(iter(self._begin(self._held)))
        self._conclude()
        of_tokens = self._tokens.distributions() if self._tokens else {}
        return Report(
            format=self._format or "chat",
            size=self._size,
            lines=self._lines,
            examples=self._examples,
            with_errors=self._bad,
            counts=dict(sorted(self._findings.counts.items())),
            findings=self._findings.listed(),
            distributions={"messages": self._messages.to_dict(), **of_tokens},
            tokens=self._tokens.statistics() if self._tokens else None,
            image_examples=self._image_examples,
            also=["reinforcement"] if self._examples and self._open == self._examples else [],
            item_keys=self._items.common(),
            missing_since=self._items.missing_since,
            digests=self._digests,
        )

    def _take(self, lines: Iterator[bytes | int]) -> None:
        if self._held is None:
            self._check(lines)
            return
        # The first lines wait until there are enough to detect the format; counted by lines, not by chunks.
        for line in lines:
            self._held.append(line)
            self._held_size += line if isinstance(line, int) else len(line)
            if len(self._held) >= _DETECT_LINES or self._held_size > _DETECT_BYTES:
                self._check(chain(self._begin(self._held), lines))
                return

    def _begin(self, held: list[bytes | int]) -> Sequence[bytes | int]:
        """Takes the format and the findings from the first lines. Returns them; none if the file is no JSONL."""
        self._held = None
        opening = read_opening(held, self._format, self._judged, self._findings)
        self._format, self._stopped = opening.format, opening.lines is None
        return opening.lines or ()

    def _check(self, lines: Iterator[bytes | int]) -> None:
        if self._stopped:
            return
        first, digests = self._lines + 1, list[int]()
        try:
            self._judge_all(enumerate(lines, first), digests)
        except _EnoughLinesError:
            self._stopped = True
            self._read = self._splitter.cut - sum((len(x) if isinstance(x, bytes) else x) + 1 for x in lines)
        self._digests.extend(first, digests)

    def _judge_all(self, lines: Iterator[tuple[int, bytes | int]], digests: list[int]) -> None:
        """Judges lines, and adds the digest of each, 0 where it holds no example."""
        chat, measure, tokens = self._format == "chat", self._messages.add, self._tokens
        number, remember = self._lines, digests.append
        for number, line in lines:
            if not isinstance(line, bytes):
                remember(self._reject(number, [("line_too_long", "$", f"{line:,} bytes; at most {self._max_line:,}.")]))
                continue
            if len(line) > LONG and too_intricate(line):
                told = f"{len(line):,} bytes, mostly brackets and commas."
                remember(self._reject(number, [("line_too_intricate", "$", told)]))
                continue
            if line and line[-1] == _CR:
                self._findings.add("crlf", number, "$", "CR LF at the end of the line.")
            try:
                value = fast(line)
            except ValueError:
                remember(self._explain(number, line))
                continue
            plain = plain_digest(value) if chat else None
            if plain is None:
                remember(self._judge(number, value, ()))
                continue
            digest, roles = plain
            remember(digest)
            measure(len(value["messages"]))
            if not roles & SYSTEM:
                self._findings.add("no_system_message", number, "$.messages", NO_SYSTEM)
            if tokens:
                tokens.add_plain(number, value)
        self._lines = number

    def _explain(self, number: int, line: bytes) -> int:
        """Handles a line that the fast decoder refused. Returns its digest, 0 if it holds no example."""
        if not line.strip(_SPACE):
            self._findings.add("blank_line", number, "$", "An empty line.")
            if self._is_mostly_blank(number):
                self._lines = number
                raise _EnoughLinesError
            return 0
        parsed = parse(line)
        if parsed.usable:
            return self._judge(number, parsed.value, parsed.found)
        return self._reject(number, parsed.found)

    @property
    def _examples(self) -> int:
        """How many lines are not blank."""
        return self._lines - self._findings.counts.get("blank_line", 0)

    def _is_mostly_blank(self, number: int) -> bool:
        blank = self._findings.counts.get("blank_line", 0)
        return blank > self._most_blank + number - blank

    def _reject(self, number: int, found: Sequence[Found]) -> Literal[0]:
        self._bad += 1
        for code, path, message in found:
            self._findings.add(code, number, path, message)
        self._bad_findings += len(found)
        if self._bad >= self._most_bad or self._bad_findings >= MAX_BAD_FINDINGS:
            self._lines = number
            raise _EnoughLinesError
        return 0

    def _judge(self, number: int, value: Any, found: Sequence[Found]) -> int:
        """Applies every rule of the format to a line that is JSON. Returns its digest, 0 if it has errors."""
        assert self._format is not None  # decided before the first line is checked
        found = list(found)

        def say(code: str, path: str, message: str) -> None:
            if len(found) >= MAX_FOUND:
                raise _EnoughError
            found.append((code, path, message))

        try:
            check_line(value, self._format, say)
        except _EnoughError:
            found.append(TOO_MANY)
        if has_error(code for code, _, _ in found):
            return self._reject(number, found)
        for code, path, message in found:
            self._findings.add(code, number, path, message)
        messages = value["input"]["messages"] if self._format == "preference" else value.get("messages")
        if messages:
            self._messages.add(len(messages))
            self._image_examples += any(_shows_image(message) for message in messages)
            self._open += self._format == "chat" and ends_open(messages)
        if self._format == "reinforcement":
            self._items.add(number, value)
        if self._tokens:
            self._tokens.add(number, value, self._format)
        return digest_of(value)

    def _conclude(self) -> None:
        """Adds the findings that only the whole file can show."""
        say, n = self._findings.add, self._examples
        if self._stopped and self._read is None:
            return
        if self._read is not None and self._read < self._size:
            bad = f"{self._bad:,} lines have errors, with {self._bad_findings:,} findings"
            if self._is_mostly_blank(self._lines):
                bad = f"{self._findings.counts['blank_line']:,} lines are empty"
            read = f"{self._read:,} of {self._size:,} bytes were read; more may follow."
            say("checking_stopped", None, "$", f"Checking stopped after line {self._lines:,}: {bad}. {read}")
        elif n == 0:
            say("empty_file", None, "$", "No examples.")
        elif n < self._minimum:
            say("too_few_examples", None, "$", f"{plural(n, 'example')}; at least {self._minimum} are needed.")
        elif n < ADVISED_EXAMPLES and self._minimum:
            say("few_examples", None, "$", f"{plural(n, 'example')}.")
        if self._image_examples > MAX_IMAGE_EXAMPLES:
            say("too_many_image_examples", None, "$", f"{self._image_examples:,} examples with images.")
        count, first = counted(self._digests.duplicates(), self._findings.per_code)
        for line, earlier in first:
            say("duplicate_example", line, "$", f"The same example as line {earlier}.")
        self._findings.more("duplicate_example", count - len(first))
        if self._digests.full:
            say("duplicates_not_searched", None, "$", f"{self._lines:,} lines.")


def _shows_image(message: dict[str, Any]) -> bool:
    content = message.get("content")
    return isinstance(content, list) and any(part.get("type") == "image_url" for part in content)
