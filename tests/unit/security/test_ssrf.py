"""Which URLs and addresses webhooks may reach, as text. What happens on the socket: test_guarded_connector.py."""

import contextlib
import ipaddress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from yarl import URL

from tests.unit.security.hostile_addresses import ADDRESSES, HOSTS
from tunehook.security.allow_list import Address, AllowList, AllowListMalformed
from tunehook.security.ssrf import AddressRefused, check_address, check_url

HOSTILE_URLS = [
    "",
    "https:",
    "https://",
    "https:///hooks",
    "//you.example/hooks",
    "https:/you.example",
    "https:you.example",
    "you.example/hooks",
    "http://you.example/hooks",
    "ftp://you.example/hooks",
    "file:///etc/passwd",
    "gopher://you.example:443/_x",
    "data:text/html,x",
    "https://you.example:80/",
    "https://you.example:6379/",
    "https://you.example:0443/",
    "https://you.example:/",
    "https://you.example:0/",
    "https://you.example:65979/",  # 65536 + 443
    "https://you.example:443:443/",
    "https://you.example:+443/",
    "https://you.example:٤٤٣/",
    "https://user@you.example/",
    "https://user:password@you.example/",
    "https://you.example@127.0.0.1/",
    "https://127.0.0.1:443@you.example/",
    "https://@you.example/",
    "https://you.example#@127.0.0.1/",
    "https://you.example/#part",
    "https://you.example\\@127.0.0.1/",
    "https://127.0.0.1\\.you.example/",
    "https:\\\\you.example\\",
    " https://you.example/",
    "https://you.example/ ",
    "https://you.example/a b",
    "https://you.ex\tample/",
    "https://you.example/\r\nX-Injected: 1",
    "https://you.example\n",
    "https://you.example/\x00",
    "https://you.example/\x7f",
    "https://you.example/ü",
    "https://you.example/\u2028",
    "https://you%2eexample/",
    "https://[you.example]/",
    "https://[/",
    "https://]/",
    "https://you.example/" + "x" * 2048,
]


@pytest.mark.parametrize("url", HOSTILE_URLS)
def test_a_hostile_url_is_refused(url: str) -> None:
    with pytest.raises(AddressRefused):
        check_url(url)


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_that_means_somewhere_private_is_refused(host: str) -> None:
    with pytest.raises(AddressRefused):
        check_url(f"https://{host}/hooks")


@pytest.mark.parametrize("ip", ADDRESSES)
def test_an_address_that_is_not_public_is_refused(ip: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        check_address(ip)
    assert "TUNEHOOK_WEBHOOK_ALLOW" in str(caught.value)
    with pytest.raises(AddressRefused):
        check_url(f"https://[{ip}]/" if ":" in ip else f"https://{ip}/")


def test_enough_was_tried() -> None:
    assert len(HOSTILE_URLS) + len(HOSTS) >= 28
    assert len(ADDRESSES) == len(set(ADDRESSES)) >= 42


@pytest.mark.parametrize(
    "url",
    [
        "https://you.example",
        "https://you.example/hooks?a=b&c=%20d",
        "HTTPS://You.Example:443/Hooks",
        "https://hooks.you.example:8443/a@b:c",
        "https://you.example?to=http://127.0.0.1",
        "https://xn--bcher-kva.example/",
        "https://my_hooks.you.example/",
        "https://1.you.example/",
        "https://localhost.you.example/",
        "https://93.184.216.34/",
        "https://[2606:4700:4700::1111]:8443/",
        "https://you.example/" + "x" * 2028,
    ],
)
def test_a_public_https_url_is_fine(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    "ip",
    [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.1",
        "93.184.216.34",
        "100.63.255.255",
        "100.128.0.1",
        "126.255.255.255",
        "128.0.0.1",
        "169.253.255.255",
        "172.15.255.255",
        "172.32.0.1",
        "192.0.1.1",
        "192.167.255.255",
        "198.17.255.255",
        "198.20.0.1",
        "223.255.255.255",
        "::ffff:93.184.216.34",
        "2001:200::1",
        "2001:db9::1",
        "2003::1",
        "2606:4700:4700::1111",
        "3fff:1000::1",
    ],
)
def test_public_addresses_are_fine(ip: str) -> None:
    check_address(ip)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://you.example/", "plain http; the operator can permit it by adding `you.example` to"),
        ("https://you.example:8080/", "a port other than 443 and 8443; the operator"),
        ("https://receiver/", "`receiver` is a name within some network; the operator"),
        ("https://printer.local/", "`printer.local` is a name of a private network; the operator"),
        ("https://127.0.0.1/", "127.0.0.1 is in 127.0.0.0/8 (loopback); the operator"),
        ("https://[::1]/", "::1 is outside 2000::/3; the operator"),
        ("https://2130706433/", "`2130706433` is not an IP address in its plain form"),
        ("https://a@you.example/", "user info"),
        ("https://you.example/#a", "#fragment"),
        ("https://you.example/a b", "visible ASCII"),
        ("https://you.example./", "no dot at its end"),
        ("https://you.example/" + "x" * 3000, "3020 characters"),
    ],
)
def test_a_refusal_says_which_rule_and_which_setting(url: str, said: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        check_url(url)
    assert said in str(caught.value)
    assert ("TUNEHOOK_WEBHOOK_ALLOW" in str(caught.value)) == ("the operator" in said)


ALLOW = AllowList.parse("receiver, Hooks.Corp.Example,10.0.0.0/8, 127.0.0.1,[::1], fd00::/8,")


@pytest.mark.parametrize(
    "url",
    [
        "http://receiver:9000/hooks",
        "http://RECEIVER/",
        "http://hooks.corp.example:8080/",
        "http://10.1.2.3:1/",
        "http://127.0.0.1:9000/",
        "http://[::1]:9000/",
        "https://[fd00::5]/",
        "http://[::ffff:10.0.0.1]/",
    ],
)
def test_what_the_operator_lists_may_be_private_plain_http_and_on_any_port(url: str) -> None:
    check_url(url, ALLOW)
    with pytest.raises(AddressRefused):
        check_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://receiver:65979/",
        "http://user@receiver/",
        "http://receiver/#a",
        "ftp://receiver/",
        "http://receiver./",
        "http://a.receiver/",
        "http://you.example/",
        "https://other/",
        "http://127.0.0.2/",
        "http://2130706433/",
        "https://you.example:9000/",
        "https://11.0.0.1:9000/",
    ],
)
def test_a_list_permits_what_it_lists_and_nothing_else(url: str) -> None:
    with pytest.raises(AddressRefused):
        check_url(url, ALLOW)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("http://receiver", "without `https://`"),
        ("receiver:9000", "without its port"),
        ("127.0.0.1:9000", "without its port"),
        ("[::1]:9000", "without its port"),
        ("*.corp.example", "without `*`"),
        ("10.0.0.1/8", "written 10.0.0.0/8"),
        ("10.0.0.0/33", "no network"),
        ("127.1", "neither"),
        ("0x7f.0.0.1", "neither"),
        ("receiver.", "neither"),
        ("a b", "neither"),
        ("bücher.example", "neither"),
        ("[10.0.0.1]", "neither"),
        ("::ffff:10.0.0.1", "IPv4 addresses are given as such"),
    ],
)
def test_a_malformed_entry_says_what_is_wrong(entry: str, why: str) -> None:
    with pytest.raises(AllowListMalformed) as caught:
        AllowList.parse(f"good.example,{entry}")
    assert why in str(caught.value)
    assert f"TUNEHOOK_WEBHOOK_ALLOW holds `{entry}`" in str(caught.value)


def test_an_address_that_names_a_network_interface_is_refused_though_public() -> None:
    with pytest.raises(AddressRefused, match="names a network interface"):
        check_address("2606:4700:4700::1111%eth0")


def test_no_list_permits_nothing() -> None:
    assert AllowList.parse("") == AllowList.parse(" , ") == AllowList()


# Parts of URLs, to be strung together at random.
WORDS = ["https://", "http", "you.example", "127.0.0.1", "0x7f", "443", "xn--", "::ffff:"]
SIGNS = list(":/[].。@#?%\\\t-_1")
url_like = st.one_of(
    st.text(st.characters(exclude_categories=())),
    st.lists(
        st.sampled_from(WORDS + SIGNS),
        max_size=14,
    ).map("".join),
    st.from_regex(r"https://[a-zA-Z0-9:.%@\[\]_-]{1,30}(:[0-9]{1,6})?(/[!-~]{0,20})?", fullmatch=True),
)


@settings(max_examples=1000, deadline=None)
@given(url_like)
@example("https://you.example/{rule}")
def test_any_text_as_url_is_fine_or_refused_and_then_read_alike_by_the_client(text: str) -> None:
    try:
        check_url(text)
    except AddressRefused:
        return
    # aiohttp parses the URL by yarl: it must see the host that was checked.
    url = URL(text)
    assert url.scheme == "https"
    assert url.port in (443, 8443)
    assert url.user is None
    host = text.split("/")[2].split("?", maxsplit=1)[0].lower().removesuffix(":443").removesuffix(":8443")
    if ":" in host:
        assert ipaddress.ip_address(url.raw_host or "") == ipaddress.ip_address(host.strip("[]"))
    else:
        assert url.raw_host == host


@settings(max_examples=500, deadline=None)
@given(st.text(st.characters(exclude_categories=())) | st.text("0123456789abcdef.:/x%[]*", max_size=30))
def test_any_text_as_address_or_list_raises_only_its_own_error(text: str) -> None:
    with contextlib.suppress(AddressRefused):
        check_address(text)
    with contextlib.suppress(AllowListMalformed):
        AllowList.parse(text)


@settings(max_examples=500, deadline=None)
@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_judged_as_the_address_inside(address: ipaddress.IPv4Address) -> None:
    assert is_fine(str(address)) == is_fine(f"::ffff:{address}")


@settings(max_examples=1000, deadline=None)
@given(st.ip_addresses())
def test_nothing_is_fine_that_the_standard_library_calls_private(address: Address) -> None:
    if is_fine(str(address)):
        assert (getattr(address, "ipv4_mapped", None) or address).is_global


def is_fine(ip: str) -> bool:
    try:
        check_address(ip)
    except AddressRefused:
        return False
    return True
