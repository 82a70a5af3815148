"""Settings: what is missing, malformed or misspelt stops the start with one line; what is good is read whole.

They come from the environment of a process of its own: nothing here changes the tests' own.
"""

import base64
import json
import subprocess
import sys

import pytest

from tunehook.settings import Settings, SettingsError, azure_base_url, check_names, known_names, require

KEY = base64.urlsafe_b64encode(b"k" * 32).decode()
SHOW = "from tunehook.settings import load\nprint(load().model_dump_json(exclude_defaults=True))"


def read(**environment: str) -> Settings:
    found = subprocess.run(
        [sys.executable, "-c", SHOW], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return Settings.model_validate_json(found.stdout)


def test_everything_has_a_default_but_secrets_and_redis() -> None:
    defaults = Settings.model_construct()
    assert (defaults.host, defaults.port, defaults.workers) == ("127.0.0.1", 8080, 2)
    assert (defaults.poll_seconds, defaults.settle_seconds) == (30, 180)
    for secret in ("openai_api_key", "azure_openai_api_key", "secret_key", "bootstrap_key", "redis_url"):
        assert not getattr(defaults, secret)


@pytest.mark.processes
def test_the_environment_is_read_in_a_program() -> None:
    found = read(
        REDIS_URL="redis://localhost/1",
        TUNEHOOK_PORT="0",
        TUNEHOOK_POLL_SECONDS="0.5",
        TUNEHOOK_WORKERS="",
        TUNEHOOK_UPSTREAMS__MINE__BASE_URL="http://localhost:1/v1/",
        TUNEHOOK_UPSTREAMS__MINE__API_KEY="k",
    )
    assert (found.redis_url, found.port, found.poll_seconds, found.workers) == ("redis://localhost/1", 0, 0.5, 2)
    assert found.all_upstreams()["mine"].base_url == "http://localhost:1/v1"


def test_the_first_upstream_is_the_default_and_each_has_its_dialects_root() -> None:
    found = Settings.model_validate(
        {
            "openai_api_key": "o",
            "azure_openai_api_key": "a",
            "azure_openai_endpoint": "https://r.openai.azure.com/",
            "upstreams": {"MINE": {"base_url": "http://x/v1", "api_key": "m"}},
        }
    )
    assert {name: upstream.base_url for name, upstream in found.all_upstreams().items()} == {
        "openai": "https://api.openai.com/v1",
        "azure": "https://r.openai.azure.com/openai/v1",
        "mine": "http://x/v1",
    }
    assert next(iter(found.all_upstreams())) == "openai"
    assert azure_base_url("https://r.openai.azure.com/openai/v1/") == "https://r.openai.azure.com/openai/v1"


VENDORS = {
    "fireworks_api_key": "f",
    "fireworks_account_id": "acme",
    "nebius_api_key": "n",
    "together_api_key": "t",
    "upstreams": {"mine": {"base_url": "http://x/v1", "api_key": "m"}, "b": {"kind": "nebius", "api_key": "b"}},
}


def test_vendors_own_variables_configure_upstreams_in_the_order_of_the_default() -> None:
    found = Settings.model_validate({**VENDORS, "openai_api_key": "o"}).all_upstreams()
    assert list(found) == ["openai", "fireworks", "nebius", "together", "b", "mine"]
    assert [one.kind for one in found.values()] == ["openai", "fireworks", "nebius", "together", "nebius", "openai"]
    assert found["b"].base_url == found["nebius"].base_url == "https://api.tokenfactory.nebius.com/v1"
    assert found["fireworks"].account_id == "acme"
    chosen = Settings.model_validate({**VENDORS, "openai_api_key": "o", "default_upstream": "Together"})
    assert list(chosen.all_upstreams()) == ["together", "openai", "fireworks", "nebius", "b", "mine"]


def test_an_azure_upstream_of_another_name_has_azures_root() -> None:
    nested = {"second": {"kind": "azure", "base_url": "https://r.openai.azure.com", "api_key": "k"}}
    (found,) = Settings.model_validate({"upstreams": nested}).all_upstreams().values()
    assert found.base_url == "https://r.openai.azure.com/openai/v1"


def test_secrets_are_not_shown() -> None:
    found = Settings.model_validate({"openai_api_key": "sk-very-secret", "secret_key": KEY})
    assert "very-secret" not in repr(found)
    assert KEY not in repr(found)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("TUNEHOOK_POL_SECONDS", "TUNEHOOK_POLL_SECONDS"),
        ("TUNEHOOK_WEBHOOKS_ALLOW", "TUNEHOOK_WEBHOOK_ALLOW"),
        ("TUNEHOOK_SECRETKEY", "TUNEHOOK_SECRET_KEY"),
    ],
)
def test_a_misspelt_name_is_refused_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(SettingsError, match=rf"{name} is not a setting\. Did you mean {nearest}\?"):
        check_names({name: "x"})


def test_what_is_not_ours_is_left_alone_and_every_known_name_passes() -> None:
    check_names({"PATH": "x", "REDIS_HOST": "x", "OPENAI_ORG_ID": "x", **dict.fromkeys(known_names(), "x")})
    check_names({"TUNEHOOK_UPSTREAMS__A__BASE_URL": "x", "TUNEHOOK_SIMULATOR_SLOTS": "3"})
    for wrong in ("TUNEHOOK_UPSTREAMS__A__URL", "TUNEHOOK_UPSTREAMS__A", "TUNEHOOK_UPSTREAMS____API_KEY"):
        with pytest.raises(SettingsError, match="BASE_URL"):
            check_names({wrong: "x"})


OWN_KEY = "th_0123456789ab_" + "s" * 43


def test_our_own_key_in_the_place_of_openais_makes_us_no_upstream_of_ourselves() -> None:
    """`tunehook up` prints lines that export it, and may be started again in the shell in which they were run."""
    own = Settings.model_validate({"openai_api_key": OWN_KEY, "openai_base_url": "http://127.0.0.1:8080/v1"})
    assert own.all_upstreams() == {}
    azure = {"azure_openai_api_key": "a", "azure_openai_endpoint": "https://r.openai.azure.com/"}
    assert list(Settings.model_validate({"openai_api_key": OWN_KEY, **azure}).all_upstreams()) == ["azure"]


GOOD = {"REDIS_URL": "redis://127.0.0.1:1/0", "TUNEHOOK_SECRET_KEY": KEY}
ABOUT_URL = "must start with http:// or https://, a host and perhaps a port"
WRONG: list[tuple[dict[str, str], str]] = [
    ({"TUNEHOOK_TRUSTED_PROXIES": "10.0.0.0/8, proxy"}, "TRUSTED_PROXIES: it holds `proxy`, which is no address"),
    ({"TUNEHOOK_TRUSTED_PROXIES": "10.0.0.1/8"}, "host bits set"),
    ({"TUNEHOOK_WEBHOOK_ALLOW": "http://localhost:9000"}, "a host is given without `https://` and path"),
    ({"TUNEHOOK_WEBHOOK_ALLOW": "*.corp.example"}, "names are given in full, without `*`"),
    ({"OPENAI_BASE_URL": "localhost:1", "OPENAI_API_KEY": "k"}, f"OPENAI_BASE_URL: {ABOUT_URL}"),
    ({"OPENAI_BASE_URL": "http://[::1/v1"}, f"OPENAI_BASE_URL: {ABOUT_URL}"),
    ({"OPENAI_BASE_URL": "http://x:port/v1"}, f"OPENAI_BASE_URL: {ABOUT_URL}"),
    ({"AZURE_OPENAI_ENDPOINT": "r.openai.azure.com", "AZURE_OPENAI_API_KEY": "k"}, f"ENDPOINT: {ABOUT_URL}"),
    ({"OPENAI_API_KEY": "sk-short-secret\r"}, "OPENAI_API_KEY: must be one word of ASCII characters"),
    ({"AZURE_OPENAI_API_KEY": "kü"}, "AZURE_OPENAI_API_KEY: must be one word of ASCII characters"),
    ({"REDIS_URL": "redis://localhost:abc/0"}, "REDIS_URL: must start with redis:// or rediss://, a host"),
    ({"REDIS_URL": "redis://localhost/x"}, "REDIS_URL: must end with the number of a database"),
    ({"REDIS_URL": "redis+sentinel://localhost:26379"}, "REDIS_URL: must name the Sentinels"),
    ({"REDIS_URL": "redis+sentinel://a,,b/primary"}, "REDIS_URL: must name the Sentinels"),
    ({"REDIS_URL": "redis+sentinel://a/primary/x"}, "REDIS_URL: must name the Sentinels"),
    ({"REDIS_URL": "redis+sentinel://u:short-secret/x@a/primary"}, "in a password, @ / ? # are %40 %2F"),
    ({"REDIS_URL": "redis+sentinel://a,[::1]:70000,b/primary"}, "REDIS_URL: has a port that is not 1 to 65535"),
    ({"REDIS_URL": "redis+sentinel://a/primary?short-secret=x"}, "REDIS_URL: has an option that is not known"),
    ({"REDIS_URL": "redis+sentinel://a/primary?ssl_ca_certs=x"}, "has an option ssl_ca_certs that is not known"),
    ({"REDIS_URL": "rediss+sentinel://a/primary?ssl_foo=x"}, "REDIS_URL: has an option ssl_foo that is not known"),
    ({"REDIS_URL": "redis://localhost/0?foo=bar"}, "REDIS_URL: has an option foo that is not known. Known are db, "),
    ({"REDIS_URL": "redis://localhost?ssl_cert_reqs=none"}, "has an option ssl_cert_reqs that is not known"),
    ({"REDIS_URL": "rediss://localhost?ssl_cert_reqs=no"}, "ssl_cert_reqs that must be none, optional or required"),
    ({"REDIS_URL": "redis://localhost?socket_timeout=short-secret"}, "an option socket_timeout that must be a number"),
    ({"REDIS_URL": "redis://localhost?Short-secret=1"}, "REDIS_URL: has an option that is not known"),
    ({"REDIS_URL": "unix:///run/redis.sock?foo=bar"}, "REDIS_URL: has an option foo that is not known"),
    ({"REDIS_URL": "unix://?db=0"}, "REDIS_URL: must name a socket"),
    ({"TUNEHOOK_REPLICAS": "-1"}, "TUNEHOOK_REPLICAS: must be 0 or more"),
    ({"TUNEHOOK_PRICES": "/nonexistent.json"}, "TUNEHOOK_PRICES: /nonexistent.json: No such file"),
    ({"TUNEHOOK_PRICES": __file__}, "test_settings.py: not JSON"),
    ({"TUNEHOOK_STORE_URL": "bucket"}, "TUNEHOOK_STORE_URL: must be s3://bucket/path"),
    ({"TUNEHOOK_STORE_URL": "s3://id:key@bucket/path"}, "TUNEHOOK_STORE_URL: must name a bucket and a path alone"),
    ({"TUNEHOOK_BOOTSTRAP_KEY": "th_short-secret"}, "TUNEHOOK_BOOTSTRAP_KEY: must be th_<id>_<secret>"),
    ({"TUNEHOOK_BOOTSTRAP_CALLBACK_SECRET": "short-secret"}, "TUNEHOOK_BOOTSTRAP_CALLBACK_SECRET: A webhook secret is"),
    ({"TUNEHOOK_HOST": "http://x"}, "TUNEHOOK_HOST: must be an address or a host name"),
    ({"TUNEHOOK_HOST": "no such"}, "TUNEHOOK_HOST: must be an address or a host name"),
    ({"TUNEHOOK_DATA_DIR": __file__}, "TUNEHOOK_DATA_DIR: "),
    (
        {"TUNEHOOK_UPSTREAMS__A/B__BASE_URL": "http://x", "TUNEHOOK_UPSTREAMS__A/B__API_KEY": "k"},
        "the name 'a/b' must be",
    ),
    ({"TUNEHOOK_UPSTREAMS__X__BASE_URL": "http://", "TUNEHOOK_UPSTREAMS__X__API_KEY": "k"}, ABOUT_URL),
    (
        {"TUNEHOOK_UPSTREAMS__X__BASE_URL": "http://x", "TUNEHOOK_UPSTREAMS__X__API_KEY": "a b"},
        "X__API_KEY: must be one",
    ),
    ({"TUNEHOOK_SIMULATOR_SPEED": "inf"}, "TUNEHOOK_SIMULATOR_SPEED: must be a finite number"),
    ({"TUNEHOOK_SIMULATOR_SPEED": "0"}, "TUNEHOOK_SIMULATOR_SPEED: must be more than 0"),
    ({"TUNEHOOK_KEEP_DELIVERIES_DAYS": "4"}, "TUNEHOOK_KEEP_DELIVERIES_DAYS: must be 8 or more"),
    ({"TUNEHOOK_WORKERS": "2.5"}, "TUNEHOOK_WORKERS: must be a whole number"),
    ({"TUNEHOOK_POLL_SECONDS": "soon"}, "TUNEHOOK_POLL_SECONDS: must be a number"),
    ({"TUNEHOOK_ON_UNKNOWN": "panic"}, "TUNEHOOK_ON_UNKNOWN: must be 'retry' or 'hold'"),
    ({"TUNEHOOK_UPSTREAMS__X__BASE_URL": "http://x"}, "TUNEHOOK_UPSTREAMS__X__API_KEY: is missing"),
    ({"REDIS_URL": "localhost:6379"}, "REDIS_URL: must start with redis://"),
    ({"TUNEHOOK_PORT": "eighty"}, "TUNEHOOK_PORT: must be a whole number"),
    ({"TUNEHOOK_PORT": "70000"}, "TUNEHOOK_PORT: must be 65535 or less"),
    ({"TUNEHOOK_WORKERS": "0"}, "TUNEHOOK_WORKERS: "),
    ({"TUNEHOOK_POLL_SECONDS": "nan"}, "TUNEHOOK_POLL_SECONDS: "),
    ({"TUNEHOOK_SETTLE_SECONDS": "inf"}, "TUNEHOOK_SETTLE_SECONDS: "),
    ({"TUNEHOOK_ON_UNKNOWN": "panic"}, "TUNEHOOK_ON_UNKNOWN: "),
    ({"TUNEHOOK_SECRET_KEY": "short-secret"}, "TUNEHOOK_SECRET_KEY: must be 32 random bytes"),
    ({"TUNEHOOK_INSTANCE": "a b"}, "TUNEHOOK_INSTANCE: "),
    ({"TUNEHOOK_PROT": "1"}, "Did you mean TUNEHOOK_PORT?"),
    ({"TUNEHOOK_UPSTREAMS__X__BASE_URL": "ftp://x", "TUNEHOOK_UPSTREAMS__X__API_KEY": "k"}, "TUNEHOOK_UPSTREAMS__X__"),
    ({"TUNEHOOK_UPSTREAMS__X__BASE_URL": "http://x"}, "TUNEHOOK_UPSTREAMS__X__API_KEY"),
    ({"TUNEHOOK_UPSTREAMS": "{"}, "TUNEHOOK_UPSTREAMS"),
    ({"FIREWORKS_API_KEY": "k"}, "FIREWORKS_API_KEY and FIREWORKS_ACCOUNT_ID go together"),
    ({"FIREWORKS_ACCOUNT_ID": "../x", "FIREWORKS_API_KEY": "k"}, "FIREWORKS_ACCOUNT_ID: must have the form"),
    ({"TUNEHOOK_UPSTREAMS__X__KIND": "nebulus"}, "TUNEHOOK_UPSTREAMS__X__KIND: must be 'openai', 'azure', 'fireworks'"),
    ({"TUNEHOOK_UPSTREAMS__X__KIND": "nebius"}, "TUNEHOOK_UPSTREAMS__X__API_KEY: is missing"),
    ({"TUNEHOOK_UPSTREAMS__X__KIND": "azure", "TUNEHOOK_UPSTREAMS__X__API_KEY": "k"}, "X__BASE_URL: is missing"),
    (
        {"TUNEHOOK_UPSTREAMS__X__KIND": "fireworks", "TUNEHOOK_UPSTREAMS__X__API_KEY": "k"},
        "TUNEHOOK_UPSTREAMS__X: of kind fireworks needs ACCOUNT_ID",
    ),
    (
        {"TUNEHOOK_DEFAULT_UPSTREAM": "nebius", "TOGETHER_API_KEY": "k"},
        "TUNEHOOK_DEFAULT_UPSTREAM must name an upstream that is configured: together",
    ),
    ({"AZURE_OPENAI_API_KEY": "k"}, "AZURE_OPENAI_API_KEY and AZURE_OPENAI_ENDPOINT go together"),
    ({"AZURE_OPENAI_ENDPOINT": "https://r.openai.azure.com"}, "AZURE_OPENAI_API_KEY and AZURE_OPENAI_ENDPOINT"),
]
REFUSE = """
import json, os, sys
from tunehook.settings import SettingsError, load
for environment in json.load(sys.stdin):
    os.environ.clear()
    os.environ.update(environment)
    try:
        load()
    except SettingsError as error:
        print(json.dumps(error.message))
    else:
        print(json.dumps("it was taken"))
"""


@pytest.mark.processes
def test_a_wrong_value_is_refused_in_one_line_that_names_it_and_quotes_no_secret() -> None:
    sent = json.dumps([GOOD | environment for environment, _ in WRONG])
    ended = subprocess.run(
        [sys.executable, "-c", REFUSE], input=sent, capture_output=True, text=True, timeout=60, check=True
    )
    for (environment, expected), line in zip(WRONG, ended.stdout.splitlines(), strict=True):
        said = json.loads(line)
        assert expected in said, environment
        assert "\n" not in said
        assert KEY not in said
        assert "short-secret" not in said
        assert "Input should" not in said


@pytest.mark.processes
@pytest.mark.parametrize(
    ("program", "environment", "said"),
    [
        ("service", {"TUNEHOOK_SECRET_KEY": KEY}, "REDIS_URL is not set"),
        ("worker", {"REDIS_URL": "redis://127.0.0.1:1/0"}, "TUNEHOOK_SECRET_KEY is not set"),
        ("service", {**GOOD, "TUNEHOOK_WEBHOOK_ALLOW": "10.0.0.0/99"}, "10.0.0.0/99"),
        ("service", {**GOOD, "OPENAI_API_KEY": OWN_KEY}, "OPENAI_API_KEY is a Tunehook key"),
        ("worker", {**GOOD, "OPENAI_API_KEY": OWN_KEY}, "OPENAI_API_KEY is a Tunehook key"),
    ],
)
def test_a_program_does_not_start_on_settings_that_are_wrong(
    program: str, environment: dict[str, str], said: str
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", program], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert said in ended.stderr
    assert OWN_KEY not in ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr


def test_require_names_the_setting_and_what_it_is_for() -> None:
    with pytest.raises(SettingsError, match=r"REDIS_URL is not set\. Set it to the URL of Redis"):
        require(Settings.model_construct(), "redis_url")
