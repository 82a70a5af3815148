"""Rows of other tools in, a dataset out: the steps that the article does by hand."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from tunehook.dataset import tables
from tunehook.dataset.examples import Columns, Example, Maker
from tunehook.dataset.heading import Heading
from tunehook.dataset.rows import CannotBuild, Dropped, Row
from tunehook.dataset.sources import Source, read_rows

#: Of lines, where memory is short: the system message comes with each.
MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Built:
    """JSONL, one example a line. `validation` is empty unless a part was split off.

    `unused`: columns and members of which nothing was made; `asked`: those that were the question, if there were such;
    `notes`: what else was decided, in words.
    """

    training: bytes
    validation: bytes
    training_examples: int
    validation_examples: int
    dropped: tuple[Dropped, ...]
    unused: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def build_from(
    sources: Sequence[Source],
    *,
    system: str,
    validation_split: float = 0.0,
    seed: int = 0,
    columns: Columns | None = None,
    heading: bool | None = None,
    encoding: str | None = None,
    at_most: int | None = None,
) -> Built:
    """Makes a dataset of `sources`.

    `system`: for examples that bring no system message. Rows of which no example can be made and repeated examples are
    dropped, and said so. `validation_split`: the share, 0 up to less than 1, that is split off by `seed`: same rows,
    same seed, same split. Both parts keep their order. `columns`: which are the question and the answer; `heading`:
    whether the first row of a table names its columns (None: by what it holds); `encoding`: of texts.
    `at_most`: rows that are read, where memory is short; spreadsheets and Parquet are then refused, as few bytes of
    them may become very many. Raises CannotBuild.
    """
    if not 0 <= validation_split < 1:
        raise CannotBuild(f"validation_split is {validation_split}; it must be at least 0 and less than 1.")
    named, told = columns or Columns(), Heading(heading)
    told.columns = named.named
    maker = Maker(system, named)
    read = (row for source in sources for row in _read(source, told, encoding, at_most, several=len(sources) > 1))
    lines, dropped = _sift(read, maker, at_most)
    if not lines:
        why = f" (the first one dropped: {dropped[0].at}, {dropped[0].why})" if dropped else ""
        raise CannotBuild(f"No question and answer pairs were found, and no examples{why}.")
    apart = _chosen(len(lines), validation_split, seed)
    return Built(
        training=b"".join(line for i, line in enumerate(lines) if i not in apart),
        validation=b"".join(line for i, line in enumerate(lines) if i in apart),
        training_examples=len(lines) - len(apart),
        validation_examples=len(apart),
        dropped=tuple(dropped),
        unused=tuple(maker.unused),
        asked=tuple(maker.asked),
        notes=tuple(told.notes),
    )


def _read(
    source: Source, heading: Heading, encoding: str | None, at_most: int | None, *, several: bool
) -> Iterator[Row | Dropped]:
    if at_most is not None:
        if source.kind in tables.KINDS or tables.kind_by_content(source.content):
            raise CannotBuild("Spreadsheets and Parquet are not taken here: turn the file with `tunehook build`.")
        # A list of a million empty lists is 3 MB of JSON and 70 MB of memory, and not one pair.
        if sum(map(source.content.count, (b"[", b"{", b","))) > 10 * at_most:
            raise _too_many(at_most)
    for row in read_rows(source, heading, encoding):
        yield replace(row, at=f"{source.name}: {row.at}") if several else row


def _chosen(n: int, share: float, seed: int) -> set[int]:
    """Returns which examples are for validation: at least one and never all, if any were asked for."""
    if share <= 0 or n < 2:
        return set()
    size = min(n - 1, max(1, round(n * share)))
    return set(random.Random(seed).sample(range(n), size))  # noqa: S311  # a split is no secret


def _too_many(at_most: int) -> CannotBuild:
    return CannotBuild(f"More than {at_most:,} pairs are not taken here; `tunehook build` takes any number.")


def _sift(read: Iterable[Row | Dropped], maker: Maker, at_most: int | None) -> tuple[list[bytes], list[Dropped]]:
    """Returns the lines of the examples, once each, and what was dropped."""
    made: dict[tuple[str, str], Example] = {}  # by conversation, or by where it stands
    dropped = []
    for number, row in enumerate(read, 1):
        if at_most is not None and number > at_most:
            raise _too_many(at_most)
        one = row if isinstance(row, Dropped) else maker.make(row)
        if isinstance(one, Dropped):
            dropped.append(one)
        elif one.conversation is None:
            made["at", f"{one.at} {number}"] = one
        elif (earlier := made.setdefault(("of", one.conversation), one)) is not one:
            spoken = [message for message in one.line["messages"] if message.get("role") != "system"]
            earlier.line["messages"].extend(spoken)
    first, size = dict[bytes, str](), 0
    for one in made.values():
        line = _line(one)
        size += len(line)
        if at_most is not None and size > MOST_BYTES:
            raise CannotBuild(f"More than {MOST_BYTES >> 20} MB are not made here; `tunehook build` makes any number.")
        if line in first:
            dropped.append(Dropped(one.at, f"the same as {first[line]}"))
        else:
            first[line] = one.at
    return list(first), dropped


def _line(example: Example) -> bytes:
    # Half a surrogate pair can come out of JSON and has no UTF-8: a question mark says that something was there.
    return json.dumps(example.line, ensure_ascii=False, default=str).encode("utf-8", "replace") + b"\n"
