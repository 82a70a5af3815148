"""`.env.example` names what exists, and `deploy/new_env.py` makes a usable `.env` of it."""

import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from annotated_types import Ge

from tunehook.settings import Settings, SettingsError, check_names, known_names
from tunehook.store.engine import addresses

ROOT = Path(__file__).parents[3]
SIMULATED = {"OPENAI_BASE_URL": "http://simulator:4010/v1", "OPENAI_API_KEY": "sk-simulated"}


def assignments(text: str) -> dict[str, str]:
    lines = (line.partition("=") for line in text.splitlines() if "=" in line and not line.startswith("# "))
    return {name.removeprefix("#"): value for name, _, value in lines}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy" / "new_env.py", tmp_path / "deploy")
    shutil.copy(ROOT / ".env.example", tmp_path)
    return tmp_path


def new_env(checkout: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "deploy/new_env.py", *args], cwd=checkout, capture_output=True, text=True, check=False
    )


def test_every_setting_in_the_example_exists() -> None:
    named = assignments((ROOT / ".env.example").read_text())
    check_names(named)
    for_compose = {"COMPOSE_PROFILES", "REDIS_PASSWORD", "REDIS_SENTINEL_PASSWORD", "REDIS_MAXMEMORY"}
    for_compose |= {"PUBLISH_ADDRESS", "PUBLISH_PORT"}
    nested = {name for name in named if name.startswith("TUNEHOOK_UPSTREAMS__")}
    assert named.keys() - for_compose - nested <= known_names().keys()
    compose = (ROOT / "docker-compose.yml").read_text()
    assert all("${" + name in compose for name in for_compose - {"COMPOSE_PROFILES"})


def test_the_example_tells_the_defaults_and_the_bounds_of_its_settings() -> None:
    """A comment stands above its settings: bounds in its last sentence are theirs."""
    text = (ROOT / ".env.example").read_text()
    checked = set()
    for name, value in assignments(text).items():
        field = Settings.model_fields.get(known_names().get(name, ""))
        if field is None or name in {*SIMULATED, "REDIS_URL"}:
            continue
        if value:
            assert value == str(field.get_default()), name
            checked.add(name)
        comment = text.partition(f"\n{name}=")[0].rpartition("\n\n")[2].splitlines()[-1]
        least = [bound.ge for bound in field.metadata if isinstance(bound, Ge)]
        for said in re.findall(r"(\d+) (?:days )?or more", comment):
            assert [float(str(bound)) for bound in least] == [float(said)], name
            checked.add(f"{name} from {said}")
    assert {"TUNEHOOK_KEEP_DELIVERIES_DAYS from 8", "TUNEHOOK_KEEP_JOBS_DAYS", "TUNEHOOK_ON_UNKNOWN"} <= checked


def test_a_misspelt_one_would_be_found() -> None:
    with pytest.raises(SettingsError, match="TUNEHOOK_ON_UNKNOWN"):
        check_names({"TUNEHOOK_ON_UNKNWON": "retry"})


def test_new_env_makes_the_secrets_for_the_owner_alone(checkout: Path) -> None:
    assert new_env(checkout).returncode == 0
    written = checkout / ".env"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    values = assignments(written.read_text())
    assert values["REDIS_PASSWORD"].isalnum(), "it becomes part of a URL"
    assert len(values["REDIS_PASSWORD"]) == 48
    key = Settings(secret_key=values["TUNEHOOK_SECRET_KEY"]).secret_key  # type: ignore[arg-type]
    assert key is not None
    assert key.get_secret_value() == values["TUNEHOOK_SECRET_KEY"]


@pytest.mark.parametrize("simulator", [True, False])
def test_the_simulator_trains_when_asked_for(checkout: Path, simulator: bool) -> None:
    assert new_env(checkout, *["--simulator"][: int(simulator)]).returncode == 0
    lines = (checkout / ".env").read_text().splitlines()
    named = {name: [line for line in lines if line.startswith(f"{name}=")] for name in ("COMPOSE_PROFILES", *SIMULATED)}
    if simulator:
        wanted = {"COMPOSE_PROFILES": "simulator", **SIMULATED}
        assert named == {name: [f"{name}={value}"] for name, value in wanted.items()}
    else:
        assert named == {"COMPOSE_PROFILES": [], "OPENAI_BASE_URL": [], "OPENAI_API_KEY": ["OPENAI_API_KEY="]}


def test_the_trainer_trains_when_asked_for(checkout: Path) -> None:
    assert new_env(checkout, "--trainer").returncode == 0
    lines = (checkout / ".env").read_text().splitlines()
    wanted = {"KIND": "trainer", "BASE_URL": "http://trainer:4020/v1"}
    assert {f"TUNEHOOK_UPSTREAMS__LOCAL__{name}={value}" for name, value in wanted.items()} <= set(lines)
    assert "COMPOSE_PROFILES=trainer" in lines
    [key] = [line for line in lines if line.startswith("TUNEHOOK_UPSTREAMS__LOCAL__API_KEY=")]
    assert len(key.partition("=")[2]) == 48


@pytest.mark.parametrize("trains", ["simulator", "trainer", None])
def test_redis_has_replicas_when_asked_for(checkout: Path, trains: str | None) -> None:
    options = [f"--{name}" for name in (trains, "sentinel") if name]
    assert new_env(checkout, *options).returncode == 0
    lines = (checkout / ".env").read_text().splitlines()
    named = [line for line in lines if line.startswith("COMPOSE_PROFILES=")]
    assert named == [f"COMPOSE_PROFILES={trains},sentinel" if trains else "COMPOSE_PROFILES=sentinel"]
    values = {name: value for name, _, value in (line.partition("=") for line in lines if not line.startswith("#"))}
    assert values["TUNEHOOK_REPLICAS"] == "1"
    assert len(values["REDIS_SENTINEL_PASSWORD"]) == 48
    assert values["REDIS_SENTINEL_PASSWORD"] != values["REDIS_PASSWORD"]
    url = values["REDIS_URL"].replace("${REDIS_PASSWORD}", values["REDIS_PASSWORD"])  # as Compose does
    found = addresses.parse(Settings(redis_url=url).redis_url)
    assert [host for host, _ in found.addresses] == ["sentinel-1", "sentinel-2", "sentinel-3"]
    assert found.own == {"username": "tunehook", "password": values["REDIS_PASSWORD"]}


def test_new_env_never_replaces_secrets_and_shows_none(checkout: Path) -> None:
    first = new_env(checkout)
    written = (checkout / ".env").read_bytes()
    again = new_env(checkout)
    assert again.returncode == 1
    assert "stays as it is" in again.stderr
    assert (checkout / ".env").read_bytes() == written
    assert assignments(written.decode())["REDIS_PASSWORD"] not in first.stdout + first.stderr + again.stderr
