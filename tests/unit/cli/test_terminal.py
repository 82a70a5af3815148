"""Output rules of all commands: tables and pipes, exit statuses, times, and what `--help` costs."""

import ast
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from cyclopts import App

from cli.chart import chart
from cli.jobs import followed
from cli.lines import say, tell
from cli.main import COMMANDS, application, main
from cli.metrics import Curve
from cli.plan import Combination, Plan
from cli.service_client import ServiceClient
from cli.terminal import Shape, print_json, print_json_line, print_list, print_one, print_rows, sparkline, wrapped
from cli.times import lasting, moment_of

KEY = "th_abcdef123456_" + "a" * 43


@contextmanager
def answering(status: int, body: object) -> Iterator[str]:
    """A server that gives one answer to all; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, format: str, *args: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def refusal(status: int) -> object:
    return {"error": {"message": f"No, {status}.", "code": None}}


@pytest.mark.parametrize(("status", "ends"), [(400, 1), (404, 1), (409, 1), (401, 4), (403, 4), (500, 1)])
def test_the_exit_status_tells_a_refused_key_from_another_refusal(
    status: int, ends: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(status, refusal(status)) as url:
        assert main(["jobs", "show", "ftjob-1", "--url", url, "--key", KEY]) == ends
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", f"tunehook: No, {status}.\n")


@pytest.mark.parametrize(
    ("words", "ends", "said"),
    [
        (["jbos"], 2, 'Unknown command "jbos". Did you mean "jobs"? `tunehook --help`'),
        (["jobs", "shw", "ftjob-1"], 2, 'Unknown command "shw". Did you mean "show"? `tunehook jobs --help`'),
        (["jobs", "show", "a", "b"], 2, "Too many arguments: b. `tunehook jobs show --help`"),
        (["jobs", "list", "--limti", "3"], 2, "Did you mean --limit? `tunehook jobs list --help`"),
        (["jobs", "list", "--since", "yesterday"], 2, "'yesterday' is no time: write 30m, 2h"),
        (["jobs", "list", "--meta", "team"], 2, "'team' is no pair"),
        (["jobs", "cancel"], 2, "Name a job: tunehook jobs cancel ftjob-…"),
        (["jobs", "compare"], 2, "Name jobs, or give --sweep NAME."),
        (["submit", "t.jsonl", "--model", "m", "--epochs", "2,x"], 2, "--epochs 2,x: 'x' is neither auto nor a number"),
        (["submit", "t.jsonl", "--model", "m"], 1, "there is no terminal to ask in. Give --yes, or --dry-run"),
        (["files", "delete", "file-1"], 1, "Nothing was deleted: there is no terminal to ask in. Give --yes."),
        (["jobs", "--key", "sk-openai"], 4, "No API key of Tunehook"),
        (["endpoints", "--url", "http://[::1", "--key", KEY], 5, "does not answer"),
        (["signature", "verify", "nothing", "--header", "a: b", "--secret", "x"], 2, "nothing: No such file"),
    ],
)
def test_what_was_asked_wrongly_is_one_line(
    words: list[str], ends: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == ends
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err
    assert shown.err.count("\n") == 1


def test_an_empty_list_is_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    with answering(200, {"object": "list", "data": [], "has_more": False}) as url:
        for words in (["jobs"], ["files"], ["endpoints"], ["deliveries"], ["jobs", "compare", "--sweep", "s"]):
            assert main([*words, "--json", "--url", url, "--key", KEY]) == 0
            assert capsys.readouterr().out == "[]\n"


def test_help_imports_no_command() -> None:
    """`tunehook --help` takes 0.2 s of CPU so; Redis' client and the settings alone take 0.4 s."""
    code = "import sys; from cli.main import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in shown.stderr.split()}
    assert not loaded & {"redis", "httpx2", "openai", "pydantic", "aiohttp", "cryptography"}
    assert [name for name in COMMANDS if name not in shown.stdout] == []


def test_completion_knows_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    assert [name for name in COMMANDS if name not in script] == []


def leaves(app: App, *above: str) -> Iterator[tuple[str, App]]:
    """Yields every command that does something, with its name."""
    for name, command in app.resolved_commands().items():
        if name.startswith("-"):
            continue
        if command.default_command is not None:
            yield " ".join((*above, name)), command
        yield from leaves(command, *above, name)


@cache
def offers() -> dict[str, App]:
    """All commands by name; the first call imports them."""
    return dict(leaves(application([])))


@pytest.mark.parametrize("group", ["submit", "estimate", "watch", "chat", "jobs", "files", "endpoints", "deliveries"])
def test_every_help_ends_with_two_examples(group: str) -> None:
    for name, command in offers().items():
        if name.split()[0] == group:
            examples = (command.help_epilogue or "").splitlines()[2:]
            assert [line[:13] for line in examples] == ["    tunehook "] * 2, name
            assert max(map(len, examples)) < 80, name
            assert command.help, name


def test_every_parameter_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    for name, command in offers().items():
        unexplained = [
            argument.name
            for argument in command.assemble_argument_collection(parse_docstring=True)
            if argument.parse and argument.show and not argument.parameter.help
        ]
        assert unexplained in ([], ["--json"]), name


# ---- tables


ROWS = [("ftjob-" + "A" * 24, "succeeded", "m" * 40, None), ("ftjob-" + "B" * 24, "failed", "n" * 40, None)]
HEAD = ("JOB", "STATUS", "MODEL", "NOTE")


def test_a_pipe_gets_whole_cells_and_no_heading(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(HEAD, [*ROWS, ("a\tb\x1b[31m", 3, "é", "\n")])
    assert capsys.readouterr().out.splitlines() == [
        f"{ROWS[0][0]}\tsucceeded\t{'m' * 40}\t",
        f"{ROWS[1][0]}\tfailed\t{'n' * 40}\t",
        "a b [31m\t3\té\t ",
    ]


@pytest.mark.parametrize(("width", "shows"), [("200", "m" * 40), ("70", "m" * 24 + "…"), ("40", None), ("10", None)])
def test_a_terminal_gets_whole_ids_and_what_else_fits(
    width: str, shows: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"COLUMNS": width, "FORCE_COLOR": "1", "NO_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    print_rows(HEAD, ROWS)
    shown = capsys.readouterr().out
    assert "NOTE" not in shown  # no row has one
    assert ("✓ succeeded" in shown) is (int(width) >= 45)
    assert (shows or ROWS[0][0]) in shown.replace("\n", "")
    if int(width) < 40:
        assert "…" not in shown


def test_a_long_line_is_broken_between_words_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "13:31:33  fine_tuning.job.cancelled  evt_9s9SHnPMfnr1RuoT4JnuGGxG  → refused: nothing listens on port 1"
    assert wrapped(line, indent=10) == line
    for name, value in {"COLUMNS": "60", "FORCE_COLOR": "1", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    broken = wrapped(line, indent=10).split("\n")
    assert [len(one) < 60 for one in broken] == [True] * 3
    assert {one[:10] for one in broken[1:]} == {" " * 10}
    assert " ".join(broken).split() == line.split()
    assert wrapped("word " * 10 + "x" * 80, indent=2).split("\n")[-1] == "  " + "x" * 80, "an id is whole"


def test_a_sparkline_is_as_long_as_it_can_be() -> None:
    assert sparkline([]) == ""
    assert sparkline([2.0]) == "▁"
    assert sparkline([0.0, 7.0]) == "▁█"
    assert len(sparkline([float(n) for n in range(1000)])) == 16


def test_times_are_written_as_people_write_them() -> None:
    assert moment_of("2026-11-20") == 1795132800
    assert moment_of("2026-11-20T01:00+01:00") == 1795132800
    assert moment_of("1795132800") == 1795132800
    assert 7200 <= time.time() - moment_of("2h") < 7300
    assert [lasting(seconds) for seconds in (3, 200, 7300)] == ["3 s", "3 min", "2 h 2 min"]


# ---- plans


def test_a_sweep_is_every_combination_once() -> None:
    plan = Plan(model="a, b", epochs="2,3,2", learning_rate_multiplier="0.5")
    found = plan.combinations()
    assert [(one.model, one.label) for one in found] == [
        (model, f"n_epochs={epochs} learning_rate_multiplier=0.5") for model in "ab" for epochs in (2, 3)
    ]
    assert len({one.key("s") for one in found} | {one.key("t") for one in found}) == 8
    assert Plan(model="a").combinations() == [Combination("a", {})]
    assert plan.body(found[0], "file-1", None, "s") == {
        "model": "a",
        "training_file": "file-1",
        "method": {
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": 2, "learning_rate_multiplier": 0.5}},
        },
        "metadata": {"sweep": "s", "sweep_run": "n_epochs=2 learning_rate_multiplier=0.5"},
    }


def test_a_plain_job_says_no_more_than_it_was_told(tmp_path: Path) -> None:
    one = Combination("m", {})
    assert Plan(model="m").body(one, "f", None, None) == {"model": "m", "training_file": "f"}
    grader = tmp_path / "grader.json"
    grader.write_text('{"type": "string_check"}')
    asked = Plan(model="m", method="reinforcement", grader=grader, meta=["a=b=c"], max_cost=2.0, upstream="azure")
    assert asked.body(one, "f", "v", None) == {
        "model": "m",
        "training_file": "f",
        "validation_file": "v",
        "method": {"type": "reinforcement", "reinforcement": {"grader": {"type": "string_check"}}},
        "metadata": {"a": "b=c"},
        "tunehook": {"upstream": "azure", "max_cost_usd": 2.0},
    }


def test_a_curve_takes_what_events_say_of_steps() -> None:
    curve = Curve()
    curve.add([{"data": None}, {"data": {"step": 2, "total_steps": 9, "train_loss": 1.5}}])
    curve.add([{"data": {"step": 2, "valid_loss": 2}}, {"data": {"step": 1, "train_loss": 3.0, "note": "x"}}])
    assert (curve.values("train_loss"), curve.values("valid_loss"), curve.total_steps) == ([3.0, 1.5], [2], 9)


def test_signatures_are_made_and_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body, secret = tmp_path / "body.json", ["--secret", "whsec_" + "a2tr" * 8]
    body.write_bytes(b"{}")
    assert main(["signature", "sign", str(body), *secret, "--json"]) == 0
    headers = [f"--header={name}: {value}" for name, value in json.loads(capsys.readouterr().out).items()]
    assert main(["signature", "verify", str(body), *secret, *headers]) == 0
    body.write_bytes(b"{ }")
    assert main(["signature", "verify", str(body), *secret, *headers]) == 1


def test_events_that_are_cut_off_go_on_after_the_last_one(capsys: pytest.CaptureFixture[str]) -> None:
    """The first answer breaks off in the middle of the second event; 204 is the end."""
    asked: list[str | None] = []

    class Cut(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers.get("last-event-id"))
            self.send_response(200 if len(asked) < 3 else 204)
            self.send_header("content-type", "text/event-stream")
            self.send_header("content-length", "9999" if len(asked) < 3 else "0")
            self.end_headers()
            event = json.dumps(
                {"id": f"e{len(asked)}", "created_at": 0, "level": "info", "message": f"No. {len(asked)}"}
            )
            if len(asked) < 3:
                self.wfile.write(f"id: e{len(asked)}\ndata: {event}\n\ndata: {event[:20]}".encode())

        def log_message(self, format: str, *args: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Cut) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        with ServiceClient(url, KEY) as client:
            assert [event["message"] for event in followed(client, "ftjob-1", again=0.01)] == ["No. 1", "No. 2"]
        server.shutdown()
    assert asked == [None, "e1", "e2"]
    assert capsys.readouterr().err.count("Asking again.") == 2


def test_a_curve_is_drawn_with_its_axes() -> None:
    lines = list(chart([(1, 3.0), (50, 1.5), (100, 0.5)], width=40, height=5))
    assert [len(line) <= 40 for line in lines] == [True] * 6
    assert (lines[0][:5], lines[4][:5], lines[5].split()) == ("  3 ┤", "0.5 ┤", ["1", "100"])
    assert (lines[0][5], lines[4][-1]) != ("⠀", "⠀")
    assert list(chart([])) == []
    assert len(list(chart([(7, 1.0)], height=3))) == 4


STEERS = "[red]\x1b]0;owned\x07\x9b2J\u202e\x7f"


def test_one_function_prints() -> None:
    """What a command prints may come from outside: `tell` and `say` take out what would steer the terminal."""
    for page in (Path(__file__).parents[3] / "cli").glob("*.py"):
        tree = ast.parse(page.read_text("utf-8"))
        prints = {node.lineno for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id == "print"}
        assert len(prints) == (2 if page.name == "lines.py" else 0), page


def test_no_name_steers_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    say(f"one\ntwo {STEERS}")
    tell(STEERS)
    print_json({"name": STEERS})
    print_json_line({"name": STEERS})
    print_list((), [{"id": STEERS}], [], Shape(ids=True))
    print_one({"id": STEERS}, {}, Shape(ids=True))
    monkeypatch.setenv("TERM", "dumb")
    with answering(404, {"error": {"message": STEERS}}) as url:
        main(["jobs", "show", "x", "--url", url, "--key", KEY])
        main(["jobs", "cancel", "x", "y", "--url", url, "--key", KEY])
    main([STEERS])
    out, err = capsys.readouterr()
    assert [one for one in out + err if not one.isprintable() and one != "\n"] == []
    assert json.loads(out[out.index("{") : out.index("\n}") + 2]) == {"name": STEERS}
    assert "two [red] ]0;owned" in err
