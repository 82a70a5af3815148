"""The page at `/`: what it loads, its policy, how it is kept, and that it is off where it is off."""

import base64
import hashlib
import json
import re
from importlib import resources
from pathlib import Path

import aiohttp
import pytest

from service.app import build_app
from service.page_server import site_of
from tests.fakes.serving import serving
from tests.integration.service.conftest import Api

PAGE = resources.files("service") / "page"


async def get(api: Api, path: str, **headers: str) -> tuple[aiohttp.ClientResponse, bytes]:
    async with api.session.get(f"{api.root}{path}", headers=headers, allow_redirects=False) as answer:
        return answer, await answer.read()


def import_map(text: str) -> tuple[str, dict[str, str]]:
    found = re.search(r'<script type="importmap">(.*?)</script>', text)
    assert found
    return found[1], json.loads(found[1])["imports"]


async def test_the_page_loads_relative_addresses_that_a_browser_may_keep(api: Api) -> None:
    answer, body = await get(api, "/")
    assert (answer.status, answer.content_type, answer.headers["cache-control"]) == (200, "text/html", "no-cache")
    text = body.decode()
    addresses = [*re.findall(r'(?:href|src)="([^"]+)"', text), *import_map(text)[1].values()]
    assert len(addresses) > 20
    for address in addresses:
        if address == "docs":
            continue
        assert re.match(r"(\./)?page/[0-9a-f]{16}/", address), "relative, so it works below any path"
        one, content = await get(api, f"/{address.removeprefix('./')}")
        assert one.status == 200, address
        assert "immutable" in one.headers["cache-control"]
        assert one.headers["x-content-type-options"] == "nosniff"
        assert one.content_type == {"js": "text/javascript", "mjs": "text/javascript"}.get(
            address.rpartition(".")[2], one.content_type
        )
        if "/vendor/" not in address:
            assert b"http://" not in content.replace(b"http://www.w3.org/2000/svg", b"")
            assert b"https://" not in content, address


async def test_the_page_names_what_its_first_view_loads_and_no_more(api: Api) -> None:
    _, body = await get(api, "/")
    early = re.findall(r'modulepreload" href="page/[0-9a-f]{16}/([^"]+)"', body.decode())
    assert len(early) == len(set(early))
    assert {"main.js", "views/jobs.js", "lib/curve.js", "parts/spark.js"} <= set(early)
    assert {one.split("/")[1] for one in early if one.startswith("vendor/")} >= {"htm@3.1.1", "@preact"}
    later = re.compile("views/(?!jobs.js)|parts/(chart|dialog)|vendor/uplot|lib/scopes")
    assert [one for one in early if later.match(one)] == []


async def test_what_is_served_has_no_comments_and_the_same_lines(api: Api) -> None:
    for folder in ("lib", "parts", "views"):
        for file in (one for one in (PAGE / folder).iterdir() if one.name.endswith(".js")):
            _, served = await get(api, f"/page/0123456789abcdef/{folder}/{file.name}")
            lines = zip(served.decode().split("\n"), file.read_text("utf-8").split("\n"), strict=True)
            dropped = [text.strip() for now, text in lines if now != text]
            assert all(text.startswith(("//", "/**", "*")) for text in dropped), file.name
    chart = next(path for path in import_map((await get(api, "/"))[1].decode())[1].values() if "uPlot" in path)
    _, library = await get(api, f"/{chart.removeprefix('./')}")
    assert b"Copyright" in library


async def test_the_policy_allows_the_pages_own_files_alone(api: Api) -> None:
    answer, body = await get(api, "/")
    policy = answer.headers["content-security-policy"]
    digest = base64.b64encode(hashlib.sha256(import_map(body.decode())[0].encode()).digest()).decode()
    assert f"script-src 'self' 'sha256-{digest}';" in policy
    for part in ("default-src 'none'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"):
        assert part in policy
    assert policy.endswith("require-trusted-types-for 'script'; trusted-types 'none'")
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "set-cookie" not in answer.headers


async def test_an_unchanged_page_is_not_sent_again(api: Api) -> None:
    answer, _ = await get(api, "/")
    again, body = await get(api, "/", **{"if-none-match": answer.headers["etag"]})
    assert (again.status, body) == (304, b"")
    assert again.headers["content-security-policy"] == answer.headers["content-security-policy"]


async def test_a_page_of_another_version_gets_files_that_it_does_not_keep(api: Api) -> None:
    answer, body = await get(api, "/page/0123456789abcdef/main.js")
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    kept = [
        line for line in (PAGE / "main.js").read_bytes().splitlines() if not line.lstrip().startswith((b"//", b"/**"))
    ]
    assert [line for line in body.splitlines() if line] == [line for line in kept if line]


async def test_files_are_compressed_where_the_browser_says_so(api: Api) -> None:
    path = "/page/0123456789abcdef/main.js"
    async with api.session.get(f"{api.root}{path}", headers={"accept-encoding": "identity"}) as answer:
        assert "content-encoding" not in answer.headers
    async with api.session.get(f"{api.root}{path}", headers={"accept-encoding": "gzip"}) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    "path", ["package.json", "README.md", "index.html", "none.js", "..%2fapp.py", "%2e%2e/page_server.py", "vendor/"]
)
async def test_nothing_else_of_the_folder_is_served(api: Api, path: str) -> None:
    answer, body = await get(api, f"/page/0123456789abcdef/{path}")
    assert (answer.status, json.loads(body)["error"]["code"]) == (404, "unknown_url")


async def test_the_page_can_be_turned_off(api: Api) -> None:
    async with serving(build_app(api.ctx, page=False)) as root:
        for path in ("/", "/page/0123456789abcdef/main.js"):
            async with api.session.get(f"{root}{path}") as answer:
                assert (answer.status, (await answer.json())["error"]["code"]) == (404, "unknown_url")


@pytest.mark.parametrize("vendor", [None, "preact@10.0.0/dist/preact.mjs"])
def test_a_package_without_the_libraries_or_with_others_says_so(tmp_path: Path, vendor: str | None) -> None:
    for name in ("index.html", "package.json"):
        (tmp_path / name).write_bytes((PAGE / name).read_bytes())
    (tmp_path / "main.js").write_text("1")
    if vendor:
        file = tmp_path / "vendor" / vendor
        file.parent.mkdir(parents=True)
        file.write_text("1")
    site = site_of(tmp_path)
    assert b"The page's libraries are not here" in site.page.body
    assert site.files == {}
