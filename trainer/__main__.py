"""`python -m trainer`: serve and train until interrupted; the first line printed is the base URL."""

import argparse
import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator

from aiohttp import web
from pydantic import ValidationError

from trainer.app import build_app
from trainer.app_keys import STORE
from trainer.redis_url import connect
from trainer.settings import Config, environment, from_environment
from trainer.store import Store
from trainer.work import ending_with_us
from wire.http import serve

#: Pause before a worker that ended is started again.
_AGAIN_SECONDS = 1.0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m trainer", description=__doc__)
    parser.add_argument("--host", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", help="port to listen on, 0 for any free one (4020)")
    parser.add_argument("--data-dir", help="where files, jobs and models are kept (.tunehook/trainer)")
    parser.add_argument("--no-workers", action="store_true", help="serve only; workers are started elsewhere")
    return parser.parse_args()


async def _workers(app: web.Application) -> AsyncIterator[None]:
    config = app[STORE].config
    kept = [asyncio.create_task(_keep_worker(config, slot)) for slot in config.slots.split(";")]
    yield
    for task in kept:
        task.cancel()
    await asyncio.gather(*kept, return_exceptions=True)


async def _keep_worker(config: Config, slot: str) -> None:
    """Runs the worker of one slot. One that is killed takes its training along; the next goes on from a checkpoint."""
    settings = {"DATA_DIR": str(config.data_dir), "SLOT": slot, "CHILD": "\n".join(config.child)}
    given = {f"TUNEHOOK_TRAINER_{name}": value for name, value in settings.items()}
    while True:
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "trainer.worker",
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            env=environment(REDIS_URL=config.redis_url, **given),
            preexec_fn=ending_with_us(),
        )
        try:
            await worker.wait()
        except asyncio.CancelledError:
            worker.kill()
            await worker.wait()
            raise
        logging.getLogger(__name__).warning("the worker of slot %s ended (%s)", slot, worker.returncode)
        await asyncio.sleep(_AGAIN_SECONDS)


def main() -> int:
    options = vars(_options())
    no_workers = options.pop("no_workers")
    try:
        config = from_environment(**options)
        if not config.ray:
            connect(config.redis_url)
        store = Store(config)
    except ValidationError as error:
        for wrong in error.errors():
            sys.stderr.write(f"trainer: {'.'.join(map(str, wrong['loc'])) or 'options'}: {wrong['msg']}\n")
        return 2
    except (OSError, ValueError) as error:
        sys.stderr.write(f"trainer: {error}\n")
        return 1
    try:
        app = build_app(config, store)
        if not (no_workers or config.ray):
            app.cleanup_ctx.append(_workers)
        serve(app, config.host, config.port)
    except OSError as error:
        sys.stderr.write(f"trainer: cannot listen on {config.host}:{config.port}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
