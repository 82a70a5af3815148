"""Rows of a training's curves: what counts as one, in whatever an upstream sends."""

import json

import pytest

from tunehook.model import metrics


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        {"step": 1},
        {"train_loss": 1.0},
        {"step": "1", "train_loss": 1.0},
        {"step": 1.5, "train_loss": 1.0},
        {"step": -1, "train_loss": 1.0},
        {"step": True, "train_loss": 1.0},
        {"step": 1, "train_loss": float("nan")},
        {"step": 1, "train_loss": None, "blocked": False},
        {"step": 1e400, "train_loss": 1.0},
        {"step": 10**400, "train_loss": 1.0},
    ],
)
def test_what_is_no_row(data: dict[str, object] | None) -> None:
    assert metrics.row_of(data) is None


def test_a_row_keeps_its_numbers_and_survives_its_line() -> None:
    data = {"step": 7, "total_steps": 9, "train_loss": 1 / 3, "name": "x", "valid_loss": None, "lr": 1e-05}
    row = metrics.row_of(data)
    assert row == {"step": 7, "train_loss": 1 / 3, "lr": 1e-05}
    assert metrics.rows_of_lines(metrics.line_of(row)) == [{"step": 7, "train_loss": 0.333333, "lr": 1e-05}]
    many = metrics.row_of({"step": 1} | {f"column {n}": n for n in range(500)})
    assert many is not None
    assert len(many) == metrics.COLUMNS


def test_rows_of_one_step_are_one() -> None:
    rows = metrics.merged([{"step": 2, "a": 1.0}, {"step": 1, "a": 3.0}, {"step": 2, "b": 2.0}])
    assert rows == [{"step": 1, "a": 3.0}, {"step": 2, "a": 1.0, "b": 2.0}]
    assert metrics.columns(rows) == {"step": [1, 2], "a": [3.0, 1.0], "b": [None, 2.0]}
    assert metrics.columns(rows, 1) == {"step": [2], "a": [1.0], "b": [2.0]}
    assert metrics.columns([]) == {"step": []}
    assert metrics.as_csv(metrics.columns(rows)) == "step,a,b\n1,3.0,\n2,1.0,2.0\n"


def test_a_result_file_adds_what_the_events_lack() -> None:
    csv = b"step,train_loss,train_accuracy,valid_loss\n1,0.5,0.9,\n2,0.4,0.95,0.6\nthree,1,1,1\n"
    rows = metrics.rows_of_csv(csv)
    assert rows == [
        {"step": 1, "train_loss": 0.5, "train_mean_token_accuracy": 0.9},
        {"step": 2, "train_loss": 0.4, "train_mean_token_accuracy": 0.95, "valid_loss": 0.6},
    ]
    known = [{"step": 1, "train_loss": 0.5, "train_mean_token_accuracy": 0.9}, {"step": 2, "train_loss": 0.41}]
    more = [{"step": 2, "train_mean_token_accuracy": 0.95, "valid_loss": 0.6}]
    assert metrics.missing(known, rows) == more
    assert metrics.missing(rows, rows) == []


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"a,b\n1,2\n", b'{"a": 1}', b'step,a\n"' + b"x" * 200_000])
def test_another_file_has_no_rows(content: bytes) -> None:
    assert metrics.rows_of_csv(content) == []


def test_a_line_is_json_in_one_line() -> None:
    line = metrics.line_of({"step": 1, "a\nb": 2.0})
    assert line.count("\n") == 1
    assert json.loads(line) == {"step": 1, "a\nb": 2}
