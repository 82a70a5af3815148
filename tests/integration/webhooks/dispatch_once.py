"""One dispatch step in a process of its own, for the test that kills it: `-m …dispatch_once URL KEY`."""

import asyncio
import sys

from pydantic import SecretStr

from tunehook.security.allow_list import AllowList
from tunehook.security.encryption import Encryption
from tunehook.store.store import Store
from tunehook.webhooks import Webhooks, dispatch


async def main(redis_url: str, key: str) -> None:
    store = Store.connect(redis_url)
    await dispatch.dispatch(Webhooks(store, Encryption(SecretStr(key)), AllowList.parse("127.0.0.1")))
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
