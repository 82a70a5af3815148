"""Checker: reads a dataset in chunks and gives a report. Read this file for how a line is judged.

Each line is decoded fast. A chat line that is plainly good (text messages of known roles, ending with an answer) is
counted at once. All others, and those that the fast decoder refuses, go through `_judge`, which knows every rule. Both
ways give the same report (tests/unit/dataset/test_fast_and_careful.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tunehook.dataset.codes import has_error
from tunehook.dataset.digests import MAX_LINES, Digests, counted
from tunehook.dataset.findings import Findings, plural, shown
from tunehook.dataset.formats import FORMATS, NO_SYSTEM, Format, Judged, check_line, detect, ends_open
from tunehook.dataset.items import ItemKeys
from tunehook.dataset.plain import SYSTEM, digest_of, plain_digest
from tunehook.dataset.report import Distribution, Report, TokenStatistics
from tunehook.dataset.shapes import other_kind
from tunehook.dataset.splitting import LineSplitter
from tunehook.dataset.strict_json import LONG, MAX_FOUND, TOO_MANY, Found, fast, parse, too_intricate
from tunehook.dataset.tokens import TokenCounter, encoding_of, token_limit

MIN_EXAMPLES, ADVISED_EXAMPLES = 10, 50
MAX_LINE_BYTES = 16 << 20
MAX_IMAGE_EXAMPLES = 50_000
# A good line costs its bytes; a bad one 11 µs and 1 µs a finding, however short it is: 512 MB of "x" and line ends
# would take 50 minutes, so checking stops here.
MAX_BAD_LINES, MAX_BAD_FINDINGS = 100_000, 1_000_000
# An empty line takes 3 µs and one byte, so 512 MB of them would take 25 minutes. A file may have so many more empty
# lines than examples; one after each example is common.
MAX_BLANK_LINES = 100_000
_SPACE = b" \t\r"
_DETECT_LINES, _DETECT_BYTES = 10, 1 << 20
_BOM = b"\xef\xbb\xbf"


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
        self._model = model
        self._judged = judged
        self._minimum = minimum
        self._splitter = LineSplitter(max_line)
        self._max_line = max_line
        self._waiting: list[bytes | int] | None = []  # the first lines, until they have told what the file is
        self._waiting_size = 0
        self._stopped = False
        self._most_bad, self._most_blank = most_bad, most_blank
        self._bad_findings = 0
        self._read: int | None = None  # up to where, if it stopped on the way
        self._size = self._lines = self._examples = self._bad = self._image_examples = self._open = 0
        self._findings = Findings(per_code)
        self._digests = Digests(compare)
        self._messages, self._tokens, self._answers = Distribution(), Distribution(), Distribution()
        self._items = ItemKeys()
        self._counter = TokenCounter(encoding_of(model)) if model else None
        self._limit = token_limit(model) if model else 0
        self._trained = 0

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
        if self._waiting is not None:
            self._check(self._begin(self._waiting))
        self._conclude()
        distributions = {"messages": self._messages.to_dict()}
        tokens = None
        if self._counter:
            distributions |= {"tokens": self._tokens.to_dict(), "answer_tokens": self._answers.to_dict()}
            tokens = TokenStatistics(
                model=self._model or "",
                encoding=self._counter.encoding,
                limit=self._limit,
                total=self._tokens.total,
                trained=self._trained,
                over_limit=self._findings.counts.get("over_token_limit", 0),
            )
        return Report(
            format=self._format or "chat",
            size=self._size,
            lines=self._lines,
            examples=self._examples,
            with_errors=self._bad,
            counts=dict(sorted(self._findings.counts.items())),
            findings=self._findings.listed(),
            distributions=distributions,
            tokens=tokens,
            image_examples=self._image_examples,
            also=["reinforcement"] if self._examples and self._open == self._examples else [],
            item_keys=self._items.common(),
            missing_since=self._items.missing_since,
            digests=self._digests,
        )

    def _take(self, lines: Sequence[bytes | int]) -> None:
        if self._waiting is None:
            self._check(lines)
            return
        # The first lines wait until there are enough to detect the format; counted by lines, not by chunks.
        for i, line in enumerate(lines):
            self._waiting.append(line)
            self._waiting_size += line if isinstance(line, int) else len(line)
            if len(self._waiting) >= _DETECT_LINES or self._waiting_size > _DETECT_BYTES:
                self._check([*self._begin(self._waiting), *lines[i + 1 :]])
                return

    def _begin(self, lines: Sequence[bytes | int]) -> Sequence[bytes | int]:
        """Finds what the first lines show: what the file is, and its format. Returns them; none if it is no JSONL."""
        self._waiting = None
        told, first = self._format is not None, lines[0] if lines else b""
        if isinstance(first, bytes) and first.startswith(_BOM):
            self._findings.add("byte_order_mark", 1, "$", "The file begins with the bytes EF BB BF.")
            first = first.removeprefix(_BOM)
            lines = [first, *lines[1:]]
        sample = [line for line in lines if isinstance(line, bytes)]
        values = [p.value for p in map(parse, (x for x in sample if not too_intricate(x))) if p.usable]
        self._format = self._format or detect(values, self._judged)
        other = other_kind(sample, values)
        # A format that was told may be wished for lines of another shape: each is then said to be no such line.
        if other is not None and not (told and values):
            self._findings.add(other[0], None, "$", other[1])
            self._stopped = True
            return ()
        if isinstance(first, bytes) and first.strip() and not too_intricate(first):
            self._doubt(first)
        return lines

    def _doubt(self, first: bytes) -> None:
        """Says that a file does not begin as JSONL does."""
        start, parsed = first.strip(), parse(first)
        listed = isinstance(parsed.value, list) and bool(parsed.value) and isinstance(parsed.value[0], dict)
        broken = not parsed.usable and (start == b"{" or start[:1] != b"{")
        if listed or broken:
            told = shown(start[:40].decode(errors="replace"))
            self._findings.add("not_jsonl", 1, "$", f"The file begins with {told}, which is no JSON object.")

    def _check(self, lines: Sequence[bytes | int]) -> None:
        if self._stopped:
            return
        before = self._lines
        try:
            self._judge_all(lines, before + 1)
        except _EnoughLinesError:
            self._stopped = True
            rest = lines[self._lines - before :]
            self._read = self._splitter.cut - sum((len(x) if isinstance(x, bytes) else x) + 1 for x in rest)

    def _judge_all(self, lines: Sequence[bytes | int], first: int) -> None:
        chat, counter = self._format == "chat", self._counter
        remember, measure = self._digests.add, self._messages.add
        self._lines = first - 1 + len(lines)
        for number, line in enumerate(lines, first):
            if not isinstance(line, bytes):
                self._reject(number, [("line_too_long", "$", f"{line:,} bytes; at most {self._max_line:,}.")])
                continue
            if len(line) > LONG and too_intricate(line):
                self._reject(number, [("line_too_intricate", "$", f"{len(line):,} bytes, mostly brackets and commas.")])
                continue
            if line[-1:] == b"\r":
                self._findings.add("crlf", number, "$", "CR LF at the end of the line.")
            try:
                value = fast(line)
            except ValueError:
                self._explain(number, line)
                continue
            plain = plain_digest(value) if chat else None
            if plain is None:
                self._judge(number, value, ())
                continue
            digest, roles = plain
            messages = value["messages"]
            self._examples += 1
            measure(len(messages))
            remember(number, digest)
            if not roles & SYSTEM:
                self._findings.add("no_system_message", number, "$.messages", NO_SYSTEM)
            if counter:
                self._count(number, *counter.plain(messages), value)

    def _explain(self, number: int, line: bytes) -> None:
        """Handles a line that the fast decoder refused."""
        if not line.strip(_SPACE):
            self._findings.add("blank_line", number, "$", "An empty line.")
            if self._is_mostly_blank():
                self._lines = number
                raise _EnoughLinesError
            return
        parsed = parse(line)
        if parsed.usable:
            self._judge(number, parsed.value, parsed.found)
        else:
            self._reject(number, parsed.found)

    def _is_mostly_blank(self) -> bool:
        return self._findings.counts.get("blank_line", 0) > self._most_blank + self._examples

    def _reject(self, number: int, found: Sequence[Found]) -> None:
        self._examples += 1
        self._bad += 1
        for code, path, message in found:
            self._findings.add(code, number, path, message)
        self._bad_findings += len(found)
        if self._bad >= self._most_bad or self._bad_findings >= MAX_BAD_FINDINGS:
            self._lines = number
            raise _EnoughLinesError

    def _judge(self, number: int, value: Any, found: Sequence[Found]) -> None:
        """Applies every rule of the format to a line that is JSON."""
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
            self._reject(number, found)
            return
        self._examples += 1
        for code, path, message in found:
            self._findings.add(code, number, path, message)
        messages = value["input"]["messages"] if self._format == "preference" else value.get("messages")
        if messages:
            self._messages.add(len(messages))
            self._image_examples += any(_shows_image(message) for message in messages)
            self._open += self._format == "chat" and ends_open(messages)
        if self._format == "reinforcement":
            self._items.add(number, value)
        self._digests.add(number, digest_of(value))
        if self._counter:
            self._count(number, *self._counter.line(value, self._format), value)

    def _count(self, number: int, tokens: int, answers: int, value: Any) -> None:
        assert self._counter is not None
        self._tokens.add(tokens)
        self._answers.add(answers)
        self._trained += min(tokens, self._limit)
        if tokens <= self._limit:
            return
        self._findings.add("over_token_limit", number, "$", f"{tokens:,} tokens; {self._limit:,} are trained on.")
        before = self._counter.before_answers(value, self._format or "chat")
        if before is not None and before >= self._limit:
            told = f"The first answer begins after {before:,} tokens; {self._limit:,} are trained on."
            self._findings.add("answer_cut", number, "$", told)

    def _conclude(self) -> None:
        """Adds the findings that only the whole file can show."""
        say, n = self._findings.add, self._examples
        if self._stopped and self._read is None:
            return
        if self._read is not None and self._read < self._size:
            bad = f"{self._bad:,} lines have errors, with {self._bad_findings:,} findings"
            if self._is_mostly_blank():
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
