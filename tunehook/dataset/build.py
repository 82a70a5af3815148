"""Builds a chat dataset from question and answer pairs."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass

from tunehook.dataset.sources import CannotBuild, Dropped, Pair, read_pairs


@dataclass(frozen=True, slots=True)
class Built:
    """JSONL, one chat example a line. `validation` is empty unless a part was split off."""

    training: bytes
    validation: bytes
    training_examples: int
    validation_examples: int
    dropped: tuple[Dropped, ...]


def build(
    source: bytes,
    *,
    kind: str,
    system: str,
    validation_split: float = 0.0,
    seed: int = 0,
    at_most: int | None = None,
) -> Built:
    """Makes a dataset from `source`: JSON, JSONL, CSV, TSV or text, as `kind` says (see `kind_of`).

    Pairs without a question or an answer, and repeated pairs, are dropped and reported. `validation_split`: the share,
    0 up to less than 1, that is split off by `seed`: the same pairs and seed give the same split. Both parts keep their
    order. `at_most`: pairs that are read, to bound memory. Raises CannotBuild.
    """
    if not 0 <= validation_split < 1:
        raise CannotBuild(f"validation_split is {validation_split}; it must be at least 0 and less than 1.")
    # A list of a million empty lists is 3 MB of JSON and 70 MB of memory, and not one pair.
    if at_most is not None and sum(map(source.count, (b"[", b"{", b","))) > 10 * at_most:
        raise _too_many(at_most)
    kept, dropped = _sift(read_pairs(source, kind), at_most)
    if not kept:
        why = f" (the first one dropped: {dropped[0].at}, {dropped[0].why})" if dropped else ""
        raise CannotBuild(f"No question and answer pairs were found{why}.")
    lines = [_line(system, pair) for pair in kept]
    apart = _chosen(len(lines), validation_split, seed)
    return Built(
        training=b"".join(line for i, line in enumerate(lines) if i not in apart),
        validation=b"".join(line for i, line in enumerate(lines) if i in apart),
        training_examples=len(lines) - len(apart),
        validation_examples=len(apart),
        dropped=tuple(dropped),
    )


def _chosen(n: int, share: float, seed: int) -> set[int]:
    """Returns which examples are for validation: at least one and never all, if any were asked for."""
    if share <= 0 or n < 2:
        return set()
    size = min(n - 1, max(1, round(n * share)))
    return set(random.Random(seed).sample(range(n), size))  # noqa: S311  # a split is no secret


def _too_many(at_most: int) -> CannotBuild:
    return CannotBuild(f"More than {at_most:,} pairs are not taken here; `tunehook build` takes any number.")


def _sift(read: Iterable[Pair | Dropped], at_most: int | None) -> tuple[list[Pair], list[Dropped]]:
    kept, dropped = [], []
    first: dict[tuple[str, str], str] = {}
    for number, one in enumerate(read, 1):
        if at_most is not None and number > at_most:
            raise _too_many(at_most)
        if isinstance(one, Dropped):
            dropped.append(one)
        elif not one.question.strip():
            dropped.append(Dropped(one.at, "no question"))
        elif not one.answer.strip():
            dropped.append(Dropped(one.at, "no answer"))
        elif (key := (one.question.strip(), one.answer.strip())) in first:
            dropped.append(Dropped(one.at, f"the same as {first[key]}"))
        else:
            first[key] = one.at
            kept.append(Pair(*key, one.at))
    return kept, dropped


def _line(system: str, pair: Pair) -> bytes:
    messages = [{"role": "system", "content": system}] if system.strip() else []
    messages += [{"role": "user", "content": pair.question}, {"role": "assistant", "content": pair.answer}]
    # JSON may hold half a surrogate pair, which has no UTF-8: a question mark takes its place.
    return json.dumps({"messages": messages}, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
