"""`tunehook check` and `tunehook build`: check and make datasets offline, by the service's code."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from cli.dataset_text import built_text, estimate_text, report_text
from tunehook.dataset.build import build_from
from tunehook.dataset.checker import MIN_EXAMPLES, Checker
from tunehook.dataset.estimate import Estimate, estimate, outlook
from tunehook.dataset.examples import Columns
from tunehook.dataset.findings import Finding
from tunehook.dataset.fit import check_fit, judged_as, method_of
from tunehook.dataset.formats import FORMATS
from tunehook.dataset.items import check_grader
from tunehook.dataset.prices import METHODS, BadPriceFile, load_prices
from tunehook.dataset.report import Report, overlap
from tunehook.dataset.rows import CannotBuild
from tunehook.dataset.rules import all_rules, check_rules, rules_of
from tunehook.dataset.sources import KINDS, Source, kind_for

CHUNK = 1 << 20


class Usage(Exception):
    """The arguments do not fit together."""


def add_commands(subparsers: Any) -> None:
    """Registers `check` and `build` with argparse; each sets `run`, args → exit status."""
    check = subparsers.add_parser("check", help="check a dataset and say what training on it will cost")
    check.add_argument("file", type=Path, help="the training file, JSONL")
    check.add_argument("--model", help="count tokens for this model and estimate the price")
    check.add_argument("--method", choices=METHODS, help="the way of training (default: as the format says)")
    check.add_argument("--kind", choices=sorted(all_rules()), help="the kind of upstream: its rules and prices")
    check.add_argument("--n-epochs", type=_epochs, default="auto", help="1 to 50, or auto (default)")
    check.add_argument("--format", choices=FORMATS, help="the file's format (default: told by its first lines)")
    check.add_argument("--validation", type=Path, metavar="FILE", help="the validation file, checked and compared")
    check.add_argument("--grader", type=Path, metavar="FILE", help="a reinforcement grader, JSON: are its items there?")
    check.add_argument(
        "--prices", type=Path, metavar="FILE", help="a price file instead of the one that comes with this"
    )
    check.add_argument("--json", action="store_true", help="the whole report as JSON")
    check.set_defaults(run=lambda args: _guarded(check_file, args))

    make = subparsers.add_parser("build", help="make a dataset from questions and answers, or from another tool's file")
    make.add_argument(
        "source", type=Path, nargs="+", help="JSON, JSONL, CSV, TSV, text, XLSX or Parquet; several become one dataset"
    )
    make.add_argument("-o", "--output", type=Path, required=True, help="the training file to write")
    make.add_argument("--system", default="", help="the system message of examples that bring none: what it is")
    make.add_argument("--question", type=_names, default=(), metavar="COLUMN,…", help="columns that ask, joined")
    make.add_argument("--answer", type=_names, default=(), metavar="COLUMN,…", help="columns that answer, joined")
    make.add_argument("--conversation", metavar="COLUMN", help="rows with the same value in it are one conversation")
    make.add_argument("--heading", choices=("yes", "no"), help="is the first row a heading? (default: by its words)")
    make.add_argument("--encoding", help="of texts that are not UTF-8, such as cp1252")
    make.add_argument("--kind", choices=KINDS, help="what the source is (default: by its name)")
    make.add_argument(
        "--validation-split", type=float, default=0.0, metavar="SHARE", help="such as 0.2: split that off"
    )
    make.add_argument("--seed", type=int, default=0, help="the same seed gives the same split (default 0)")
    make.set_defaults(run=lambda args: _guarded(build_file, args))


def _names(told: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in told.split(",") if name.strip())


def _epochs(told: str) -> int | str:
    if told == "auto":
        return told
    if not told.isdecimal() or not 1 <= int(told) <= 50:
        raise argparse.ArgumentTypeError(f"{told!r} is neither auto nor a number from 1 to 50")
    return int(told)


def _guarded(command: Any, args: argparse.Namespace) -> int:
    """Returns the exit status: 0 no errors, 1 the dataset has errors, 2 the command failed."""
    try:
        return int(command(args))
    except (
        BrokenPipeError
    ):  # `tunehook check FILE | head`: the reader has closed the pipe, and the exit must not complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        why = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    except (Usage, CannotBuild, BadPriceFile) as error:
        why = str(error)
    print(f"tunehook {args.command if 'command' in args else ''}".rstrip() + f": {why}", file=sys.stderr)
    return 2


def check_file(args: argparse.Namespace) -> int:
    rules = rules_of(args.kind) if args.kind else None
    training = _check(args.file, args.format, args, minimum=rules.least if rules else MIN_EXAMPLES)
    if rules:
        wrong = check_rules(training, rules, args.method or method_of(training.format, args.model or ""))
        training.note(len(wrong), wrong)
    if args.grader:
        missing = _grader_findings(args.grader, training)
        training.note(len(missing), missing)
    validation = None
    if args.validation:
        validation = _check(args.validation, training.format, args, minimum=0)
        validation.note(*overlap(training.digests, validation.digests))
    priced = _price(args, training)
    ok = training.ok and (validation is None or validation.ok)
    if args.json:
        told: dict[str, Any] = {"ok": ok, "training": training.to_dict()}
        told["validation"] = validation.to_dict() if validation else None
        told["estimate"] = priced.to_dict() if priced else None
        print(json.dumps(told, indent=2, ensure_ascii=False))
        return 0 if ok else 1
    _print(report_text(str(args.file), training))
    if validation is not None:
        _print(["", *report_text(str(args.validation), validation)])
    if priced is None:
        why = (
            "No price: nothing of the file can be trained on as it is."
            if args.model
            else "Add --model to see tokens and the price."
        )
        _print(["", why])
    else:
        _print(estimate_text(priced))
    return 0 if ok else 1


def _check(path: Path, form: str | None, args: argparse.Namespace, *, minimum: int) -> Report:
    judged = judged_as(args.model, args.method)
    checker = Checker(form, model=args.model, judged=judged, minimum=minimum)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            checker.feed(chunk)
    report = checker.finish()
    if args.model or args.method:
        model = args.model or ""
        wrong = check_fit(report, model=model, method=args.method or method_of(report.format, model))
        report.note(len(wrong), wrong)
    return report


def _price(args: argparse.Namespace, training: Report) -> Estimate | None:
    """None where no model is named, or where the file cannot be trained on and nothing was counted."""
    counted = training.examples > training.with_errors and "format_misfit" not in training.counts
    if not args.model or not counted:
        return None
    method = args.method or method_of(training.format, args.model)
    rules = rules_of(args.kind) if args.kind else None
    prices = load_prices(args.prices)
    found = estimate(training, model=args.model, method=method, prices=prices, n_epochs=args.n_epochs, rules=rules)
    ahead = outlook(args.model, shutdown_date=prices.shutdown_date(args.model, args.kind), not_available=False)
    return replace(found, warnings=(*ahead, *found.warnings))


def _grader_findings(path: Path, training: Report) -> list[Finding]:
    if training.format != "reinforcement":
        raise Usage(f"--grader is for reinforcement files; this one is {training.format}.")
    try:
        grader = json.loads(path.read_bytes())
    except ValueError as error:
        raise Usage(f"{path}: not JSON: {error}") from error
    return check_grader(grader, training.item_keys, training.missing_since)


def build_file(args: argparse.Namespace) -> int:
    built = build_from(
        [_source(path, args.kind) for path in args.source],
        system=args.system,
        validation_split=args.validation_split,
        seed=args.seed,
        columns=Columns(args.question, args.answer, args.conversation),
        heading=None if args.heading is None else args.heading == "yes",
        encoding=args.encoding,
    )
    apart = args.output.with_name(f"{args.output.stem}.validation{args.output.suffix}") if built.validation else None
    written = {path.resolve() for path in (args.output, apart) if path}
    if any(path.resolve() in written for path in args.source):
        raise Usage("The output would overwrite the source; choose another name.")
    args.output.write_bytes(built.training)
    if apart:
        apart.write_bytes(built.validation)
    _print(built_text(built, str(args.output), str(apart) if apart else None))
    checker = Checker(judged="later")
    checker.feed(built.training)
    report = checker.finish()
    if not report.ok:
        print(f"\nNot yet trainable: {report.summary()}")
    return 0 if report.ok else 1


def _source(path: Path, kind: str | None) -> Source:
    content = path.read_bytes()
    return Source(content, kind or kind_for(path.name, content), path.name)


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)
