"""`tunehook check` and `tunehook build`: check and make datasets offline, by the service's code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from cli.dataset_text import built_text, estimate_text, report_text
from cli.lines import json_text, say, tell
from cli.options import AsJson
from tunehook.dataset.build import build_from
from tunehook.dataset.checker import MIN_EXAMPLES, Checker
from tunehook.dataset.estimate import Estimate, estimate, outlook
from tunehook.dataset.examples import Columns
from tunehook.dataset.findings import Finding
from tunehook.dataset.fit import check_fit, judged_as, method_of
from tunehook.dataset.formats import FORMATS
from tunehook.dataset.items import check_grader
from tunehook.dataset.prices import BadPriceFile, Method, load_prices
from tunehook.dataset.report import Report, overlap
from tunehook.dataset.rows import CannotBuild
from tunehook.dataset.rules import all_rules, check_rules, rules_of
from tunehook.dataset.sources import KINDS, Source, kind_for

CHUNK = 1 << 20


class Usage(Exception):
    """The arguments do not fit together."""


def _in_range(hint: object, epochs: object) -> None:
    if isinstance(epochs, int) and not 1 <= epochs <= 50:
        raise ValueError("It is neither auto nor a number from 1 to 50.")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How a file is checked, and what it is checked for."""

    model: Annotated[str | None, Parameter(help="count tokens for this model and estimate the price")] = None
    method: Annotated[Method | None, Parameter(help="the way of training (default: as the format says)")] = None
    kind: Annotated[
        str | None, Parameter(choices=sorted(all_rules()), help="the kind of upstream: its rules and prices")
    ] = None
    n_epochs: Annotated[Literal["auto"] | int, Parameter(validator=_in_range, help="1 to 50, or auto (default)")] = (
        "auto"
    )
    format: Annotated[
        str | None, Parameter(choices=FORMATS, help="the file's format (default: told by its first lines)")
    ] = None
    validation: Annotated[Path | None, Parameter(help="the validation file, checked and compared")] = None
    grader: Annotated[Path | None, Parameter(help="a reinforcement grader, JSON: are its items there?")] = None
    prices: Annotated[Path | None, Parameter(help="a price file instead of the one that comes with this")] = None
    as_json: Annotated[AsJson, Parameter(help="the whole report as JSON")] = False


#: The default of a parameter of type Wanted.
PLAIN = Wanted()


def _guarded(command: str, work: Callable[[], int]) -> int:
    """Returns the exit status of `work`; 2 when it could not be done, said in a sentence."""
    try:
        return work()
    except BrokenPipeError:
        raise
    except OSError as error:
        why = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    except (Usage, CannotBuild, BadPriceFile) as error:
        why = str(error)
    say(f"tunehook {command}: {why}")
    return 2


def check(file: Path, /, *, wanted: Wanted = PLAIN) -> int:
    """Check a dataset and say what training on it will cost.

    Exit status: 0 no errors, 1 the dataset has errors, 2 it could not be checked.

    Args:
        file: the training file, JSONL
    """
    return _guarded("check", lambda: _check_file(file, wanted))


def _check_file(file: Path, wanted: Wanted) -> int:
    rules = rules_of(wanted.kind) if wanted.kind else None
    training = _check(file, wanted.format, wanted, minimum=rules.least if rules else MIN_EXAMPLES)
    if rules:
        wrong = check_rules(training, rules, wanted.method or method_of(training.format, wanted.model or ""))
        training.note(len(wrong), wrong)
    if wanted.grader:
        missing = _grader_findings(wanted.grader, training)
        training.note(len(missing), missing)
    validation = None
    if wanted.validation:
        validation = _check(wanted.validation, training.format, wanted, minimum=0)
        validation.note(*overlap(training.digests, validation.digests))
    priced = _price(wanted, training)
    ok = training.ok and (validation is None or validation.ok)
    if wanted.as_json:
        told: dict[str, Any] = {"ok": ok, "training": training.to_dict()}
        told["validation"] = validation.to_dict() if validation else None
        told["estimate"] = priced.to_dict() if priced else None
        tell(json_text(told, indent=2))
        return 0 if ok else 1
    _print(report_text(str(file), training))
    if validation is not None:
        _print(["", *report_text(str(wanted.validation), validation)])
    if priced is None:
        why = (
            "No price: nothing of the file can be trained on as it is."
            if wanted.model
            else "Add --model to see tokens and the price."
        )
        _print(["", why])
    else:
        _print(estimate_text(priced))
    return 0 if ok else 1


def _check(path: Path, form: str | None, wanted: Wanted, *, minimum: int) -> Report:
    judged = judged_as(wanted.model, wanted.method)
    checker = Checker(form, model=wanted.model, judged=judged, minimum=minimum)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            checker.feed(chunk)
    report = checker.finish()
    if wanted.model or wanted.method:
        model = wanted.model or ""
        wrong = check_fit(report, model=model, method=wanted.method or method_of(report.format, model))
        report.note(len(wrong), wrong)
    return report


def _price(wanted: Wanted, training: Report) -> Estimate | None:
    """None where no model is named, or where the file cannot be trained on and nothing was counted."""
    counted = training.examples > training.with_errors and "format_misfit" not in training.counts
    if not wanted.model or not counted:
        return None
    method = wanted.method or method_of(training.format, wanted.model)
    rules = rules_of(wanted.kind) if wanted.kind else None
    prices = load_prices(wanted.prices)
    found = estimate(training, model=wanted.model, method=method, prices=prices, n_epochs=wanted.n_epochs, rules=rules)
    ahead = outlook(wanted.model, shutdown_date=prices.shutdown_date(wanted.model, wanted.kind), not_available=False)
    return replace(found, warnings=(*ahead, *found.warnings))


def _grader_findings(path: Path, training: Report) -> list[Finding]:
    if training.format != "reinforcement":
        raise Usage(f"--grader is for reinforcement files; this one is {training.format}.")
    try:
        grader = json.loads(path.read_bytes())
    except ValueError as error:
        raise Usage(f"{path}: not JSON: {error}") from error
    return check_grader(grader, training.item_keys, training.missing_since)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Wish:
    """How the sources are read, and how the examples are split."""

    system: Annotated[str, Parameter(help="the system message of examples that bring none: what it is")] = ""
    question: Annotated[str, Parameter(help="columns that ask, with commas between; joined")] = ""
    answer: Annotated[str, Parameter(help="columns that answer, with commas between; joined")] = ""
    conversation: Annotated[
        str | None, Parameter(help="a column: rows with the same value in it are one conversation")
    ] = None
    heading: Annotated[
        Literal["yes", "no"] | None, Parameter(help="is the first row a heading? (default: by its words)")
    ] = None
    encoding: Annotated[str | None, Parameter(help="of texts that are not UTF-8, such as cp1252")] = None
    kind: Annotated[str | None, Parameter(choices=KINDS, help="what the source is (default: by its name)")] = None
    validation_split: Annotated[float, Parameter(help="a share, such as 0.2: split that off")] = 0.0
    seed: Annotated[int, Parameter(help="the same seed gives the same split (default 0)")] = 0


#: The default of a parameter of type Wish.
AS_FOUND = Wish()


def build(
    source: list[Path], /, *, output: Annotated[Path, Parameter(name=("--output", "-o"))], wish: Wish = AS_FOUND
) -> int:
    """Make a dataset from questions and answers, or from another tool's file.

    Exit status: 0 it can be trained on, 1 not yet, 2 it could not be made.

    Args:
        source: JSON, JSONL, CSV, TSV, text, XLSX or Parquet; several become one dataset
        output: the training file to write
    """
    return _guarded("build", lambda: _build_file(source, output, wish))


def _names(told: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in told.split(",") if name.strip())


def _build_file(source: Sequence[Path], output: Path, wish: Wish) -> int:
    built = build_from(
        [_source(path, wish.kind) for path in source],
        system=wish.system,
        validation_split=wish.validation_split,
        seed=wish.seed,
        columns=Columns(_names(wish.question), _names(wish.answer), wish.conversation),
        heading=None if wish.heading is None else wish.heading == "yes",
        encoding=wish.encoding,
    )
    apart = output.with_name(f"{output.stem}.validation{output.suffix}") if built.validation else None
    written = {path.resolve() for path in (output, apart) if path}
    if any(path.resolve() in written for path in source):
        raise Usage("The output would overwrite the source; choose another name.")
    output.write_bytes(built.training)
    if apart:
        apart.write_bytes(built.validation)
    _print(built_text(built, str(output), str(apart) if apart else None))
    checker = Checker(judged="later")
    checker.feed(built.training)
    report = checker.finish()
    if not report.ok:
        tell(f"\nNot yet trainable: {report.summary()}")
    return 0 if report.ok else 1


def _source(path: Path, kind: str | None) -> Source:
    content = path.read_bytes()
    return Source(content, kind or kind_for(path.name, content), path.name)


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        tell(line)
