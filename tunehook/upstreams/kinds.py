"""Kinds: what an upstream can be, and how each is opened. The only module that knows every vendor's.

A kind also has rules for datasets (dataset/rules.json) and a table of options (upstreams/tables/).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tunehook.settings import KindName, UpstreamSettings
from tunehook.upstreams.client import OpenAIUpstream
from tunehook.upstreams.fireworks import FireworksUpstream
from tunehook.upstreams.lacking import NoResponses
from tunehook.upstreams.nebius import NebiusUpstream
from tunehook.upstreams.protocol import Upstream
from tunehook.upstreams.together import TogetherUpstream


class TrainerUpstream(NoResponses, OpenAIUpstream):
    """A trainer of one's own: OpenAI's wire, with chats alone."""


def _fireworks(name: str, settings: UpstreamSettings) -> Upstream:
    return FireworksUpstream(name, settings, account_id=settings.account_id or "")


#: Kind → what opens an upstream of it from its name and settings. Nothing is connected before the first call.
KINDS: Mapping[KindName, Callable[[str, UpstreamSettings], Upstream]] = {
    "openai": OpenAIUpstream,
    "azure": OpenAIUpstream,
    "fireworks": _fireworks,
    "nebius": NebiusUpstream,
    "together": TogetherUpstream,
    "trainer": TrainerUpstream,
}


def open_upstream(name: str, settings: UpstreamSettings) -> Upstream:
    """Returns the upstream of that name. `settings.kind` decides what it speaks."""
    return KINDS[settings.kind](name, settings)
