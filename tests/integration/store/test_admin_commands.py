"""`tunehook keys` and `tunehook projects`, on a store without processes."""

import json
import re
import time
from pathlib import Path

import pytest

from cli.main import main
from tests.fakes.valkey import Valkey
from tests.integration.conftest import SECRET_KEY
from tunehook.model.project import month_of
from tunehook.store.engine import keys
from tunehook.store.engine.addresses import open_blocking


@pytest.fixture(autouse=True)
def this_store(valkey: Valkey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "REDIS_URL": valkey.url,
        "TUNEHOOK_SECRET_KEY": SECRET_KEY,
        "TUNEHOOK_DATA_DIR": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)


def run(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    assert main(words) == status
    told = capsys.readouterr()
    return told.err if status else told.out


def test_keys_are_made_changed_rotated_and_listed(capsys: pytest.CaptureFixture[str]) -> None:
    made = run(capsys, "keys", "create", "--project", "search", "--scopes", "read,chat", "--expires", "2099-01-31")
    key = re.search(r"th_([a-z0-9]+)_([\w-]{43})", made)
    assert key
    assert run(capsys, "keys", "change", key[1], "--scopes", "read", "--expires", "never").endswith("not expire.\n")
    rotated = run(capsys, "keys", "rotate", key[1])
    assert f"th_{key[1]}_" in rotated
    assert key[2] not in rotated
    assert "whsec_" not in run(capsys, "keys", "create", "--admin", "--name", "ops")
    [first, second] = json.loads(run(capsys, "keys", "list", "--json"))
    of = {row["project"]: row for row in (first, second)}
    assert (of["search"]["scopes"], of["search"]["expires_at"]) == (["read"], None)
    assert of[""]["scopes"] == ["admin"]
    assert re.search(rf"{key[1]}\tsearch\t\tactive\tread\tnever\tnever", run(capsys, "keys", "list"))


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        ("keys create --scopes reed", 2, "no scope 'reed'"),
        ("keys create --expires soon", 2, "'soon' is no day"),
        ("keys create --expires 2020-01-01", 2, "2020-01-01 is past"),
        ("keys create --project a:with:b", 1, "Invalid 'project': it must have 1 to 64 letters"),
        ("keys create --admin --project p", 2, "--admin has neither --project nor --scopes"),
        (f"keys create --name {'n' * 257}", 2, "The name has 257 characters"),
        ("keys change 000000 --name x", 1, "no key '000000'"),
        ("keys change 000000", 2, "Nothing would be changed. Give --name"),
        ("keys rotate", 2, "parameter KEY requires an argument"),
        ("projects set p", 2, "Nothing would be changed. Give a limit"),
        ("projects set p:q --streams 1", 1, "Invalid 'project': it must have 1 to 64 letters"),
        ("projects set p --monthly-budget-usd much", 2, "'much' is no limit for --monthly-budget-usd. Write a number"),
        (
            "projects set p --jobs-per-day -1",
            2,
            "'-1' is no limit for --jobs-per-day. Write a whole number from 0 to 1",
        ),
        ("projects set p --streams 9999999999", 2, "from 0 to 1,000,000,000, or 'none'"),
        ("projects show p", 1, "There is no project 'p': it never had a key"),
        ("projects approve ftjob-none", 1, "There is no job 'ftjob-none'. `tunehook projects show PROJECT`"),
    ],
)
def test_a_wrong_word_is_answered_in_a_line(
    capsys: pytest.CaptureFixture[str], words: str, status: int, told: str
) -> None:
    assert told in run(capsys, *words.split(), status=status)


def test_a_name_that_is_nearly_another_projects_is_asked_about(capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "keys", "create", "--project", "search")
    assert "no project 'serch': it never had a key, a job or a limit. Did you mean search?" in run(
        capsys, "projects", "show", "serch", status=1
    )
    assert main(("projects", "set", "serch", "--streams", "1")) == 0
    assert "serch is a new project. Did you mean search?" in capsys.readouterr().err
    assert main(("keys", "create", "--project", "serch")) == 0
    assert capsys.readouterr().err == "", "it is known by now"


def test_limits_are_set_shown_and_taken_away(capsys: pytest.CaptureFixture[str]) -> None:
    told = run(capsys, "projects", "set", "search", "--monthly-budget-usd", "500", "--unsettled-jobs", "3")
    assert "500.00 USD a month; 500.00 left until 2" in told
    assert "unsettled_jobs 3" in told
    run(capsys, "projects", "set", "search", "--unsettled-jobs", "none", "--over-budget", "hold")
    [project] = json.loads(run(capsys, "projects", "list", "--json"))
    assert project["limits"]["monthly_budget_usd"] == 500
    assert project["limits"]["unsettled_jobs"] is None
    assert project["limits"]["over_budget"] == "hold"
    assert re.search(r"search\t500\.00\t0\.00\t0\.00", run(capsys, "projects", "list"))


def test_a_project_without_a_budget_has_spent_what_its_jobs_cost(
    capsys: pytest.CaptureFixture[str], valkey: Valkey
) -> None:
    run(capsys, "keys", "create", "--project", "search")
    with open_blocking(valkey.url) as client:
        for month in {month_of(int(time.time())), month_of(int(time.time()) + 600)}:
            client.hset(keys.costs("search", month), mapping={"spent": 12_340_000, "estimated": 500_000})
    assert re.search(r"search\t-\t0\.00\t12\.34\t", run(capsys, "projects", "list"))
    assert "12.34 USD spent" in run(capsys, "projects", "show", "search")
    told = run(capsys, "projects", "set", "search", "--monthly-budget-usd", "500")
    assert "500.00 left" in told, "a budget counts what was held since"
