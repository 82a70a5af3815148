"""The README's table of settings has every setting, and its default."""

import re
from pathlib import Path

import pytest

from tunehook.settings import Settings, UpstreamSettings, known_names

README = Path(__file__).parents[3] / "README.md"
ROW = re.compile(r"^\| (?P<names>`[^|]*`) \| (?P<default>[^|]*) \| (?P<meaning>[^|]+) \|$", re.MULTILINE)


def rows() -> dict[str, str]:
    """Returns name → default, as the table has them."""
    found: dict[str, str] = {}
    for row in ROW.finditer(README.read_text("utf-8")):
        for name in re.findall(r"`([^`]+)`", row["names"]):
            found[name.replace("…", "TUNEHOOK_UPSTREAMS__<NAME>")] = row["default"].strip()
    return {name: default for name, default in found.items() if re.fullmatch(r"[A-Z][A-Z_<>]+", name)}


def test_every_setting_is_in_the_table_and_nothing_else() -> None:
    members = {f"TUNEHOOK_UPSTREAMS__<NAME>__{member.upper()}" for member in UpstreamSettings.model_fields}
    assert set(rows()) == {*known_names(), *members}


@pytest.mark.parametrize("name", known_names())
def test_the_table_tells_the_default(name: str) -> None:
    default = Settings.model_fields[known_names()[name]].get_default()
    said = rows()[name]
    if default in (None, ""):
        assert said.startswith("–")
    elif name == "OPENAI_BASE_URL":
        assert said == "OpenAI"
    elif name == "TUNEHOOK_DATA_DIR":
        assert said == f"`./{default}`"
    else:
        assert said.split()[0].strip("`") == f"{default:g}" if isinstance(default, float) else str(default)
