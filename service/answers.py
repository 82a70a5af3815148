"""Answers in JSON, with numbers as JavaScript writes them."""

from functools import partial

from aiohttp import web

from tunehook.openai_format.json_text import spaced

json_response = partial(web.json_response, dumps=spaced)
