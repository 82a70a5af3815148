"""The one factory of contexts for tests: a real Redis, a data directory, and the upstreams that a test names."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from tunehook.context import Context
from tunehook.dataset.prices import load_prices
from tunehook.files import Files
from tunehook.files.directory import Directory
from tunehook.files.storage import Storage
from tunehook.security.allow_list import AllowList
from tunehook.security.encryption import Encryption
from tunehook.settings import UpstreamSettings
from tunehook.store.store import Store
from tunehook.upstreams.client import OpenAIUpstream
from tunehook.webhooks import Webhooks

SECRET_KEY = "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="


@asynccontextmanager
async def opened_context(
    redis_url: str,
    data_dir: Path,
    *,
    upstreams: Mapping[str, str] | None = None,
    secret_key: str | None = SECRET_KEY,
    allow: str = "",
    webhooks: Mapping[str, Any] | None = None,
    **changes: Any,
) -> AsyncIterator[Context]:
    """`upstreams`: base URLs by name. `webhooks`, `changes`: members of Webhooks and of Context."""
    store = Store.connect(redis_url)
    there = {
        name: OpenAIUpstream(name, UpstreamSettings(base_url=url, api_key=SecretStr("sk-simulated")))
        for name, url in (upstreams or {}).items()
    }
    encryption = Encryption(SecretStr(secret_key) if secret_key else None)
    files = Files(store, Storage(Directory(data_dir), store.deletion))
    try:
        yield Context(
            store=store,
            files=files,
            webhooks=Webhooks(store, encryption, AllowList.parse(allow), **(webhooks or {})),
            upstreams=there,
            prices=load_prices(None),
            **changes,
        )
    finally:
        await files.close()
        for upstream in there.values():
            await upstream.close()
        await store.close()
