"""What an application of the simulator holds, and the world that a request is for: OpenAI's or Azure's."""

from aiohttp import web

from simulator.clock import Clock
from simulator.settings import Config
from simulator.world import World

CONFIG = web.AppKey("config", Config)
CLOCK = web.AppKey("clock", Clock)
OPENAI = web.AppKey("openai", World)
AZURE = web.AppKey("azure", World)


def is_azure(request: web.Request) -> bool:
    return request.path.startswith("/openai/v1/")


def world(request: web.Request) -> World:
    return request.app[AZURE] if is_azure(request) else request.app[OPENAI]
