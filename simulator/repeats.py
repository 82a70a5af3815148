"""How often a directive with `*times` has been played for the same request."""

from collections import Counter

from aiohttp import web

from simulator.faults import Directive

PLAYED = web.AppKey("played", Counter)


def spent(request: web.Request, directive: Directive, what: str) -> bool:
    """Whether this directive was already played as often as it asks; counts this time otherwise."""
    if directive.times is None:
        return False
    played: Counter[str] = request.app[PLAYED]
    key = f"{request.path} {directive} {what}"
    played[key] += 1
    return played[key] > directive.times
