"""What OpenAI does not have: routes below /simulator that make things go wrong and show what was done.

They need no key: the simulator is for one's own machine."""

from collections import deque
from dataclasses import dataclass, field

from aiohttp import web

from simulator import faults, views
from simulator.faults import Rule
from simulator.places import AZURE, CLOCK, OPENAI
from wire import checking
from wire.http import read_json, reply

_KEPT = 10_000


@dataclass
class Control:
    """Rules in the order they came; the newest `_KEPT` requests."""

    rules: list[Rule] = field(default_factory=list)
    journal: deque[dict[str, object]] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def take(self, method: str, path: str) -> Rule | None:
        """The first rule that matches, one time of it used up."""
        for rule in self.rules:
            if rule.matches(method, path):
                if rule.left is not None:
                    rule.left -= 1
                return rule
        return None


CONTROL = web.AppKey("control", Control)


async def add_fault(request: web.Request) -> web.StreamResponse:
    rule = faults.rule(await read_json(request))
    request.app[CONTROL].rules.append(rule)
    return reply(rule.shown())


async def list_faults(request: web.Request) -> web.StreamResponse:
    return reply({"object": "list", "data": [rule.shown() for rule in request.app[CONTROL].rules]})


async def clear_faults(request: web.Request) -> web.StreamResponse:
    request.app[CONTROL].rules.clear()
    return reply({"cleared": True})


async def list_jobs(request: web.Request) -> web.StreamResponse:
    """Everything ever created, oldest first, with `upstream`, `landed` and `listed` beside the job."""
    shown = []
    for name, here in (("openai", request.app[OPENAI]), ("azure", request.app[AZURE])):
        here.settle()
        now = here.clock.now()
        for job in here.jobs.values():
            beside = {"upstream": name, "landed": job.created <= now, "listed": job.listed <= now}
            shown.append({**views.job(here, job), **beside})
    return reply({"object": "list", "data": shown})


async def list_requests(request: web.Request) -> web.StreamResponse:
    return reply({"object": "list", "data": list(request.app[CONTROL].journal)})


_ADVANCE = checking.table({"advance": checking.number(least=0)}, required=("advance",))


async def advance(request: web.Request) -> web.StreamResponse:
    body = await read_json(request)
    _ADVANCE(body, "")
    clock = request.app[CLOCK]
    clock.advance(body["advance"])
    return reply({"now": clock.now()})


async def read_clock(request: web.Request) -> web.StreamResponse:
    return reply({"now": request.app[CLOCK].now()})
