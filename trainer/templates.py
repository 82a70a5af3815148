"""Training templates: which chat template tells a base's answers from its prompts. Reads files; needs no torch.

A base's template renders a chat. Its training form renders the same, and marks what the assistant says with
`{% generation %}`. TRL comes with such forms of the common templates.
"""

import json
import re
from importlib.util import find_spec
from pathlib import Path

_MARKED = re.compile(r"\{%-?\s*generation\s*-?%\}")


class Untrainable(Exception):
    """A base that would be trained wrongly. The message is for the user."""


def chat_template(folder: Path) -> str:
    """Returns the chat template of a base. Raises Untrainable: it has none."""
    own = folder / "chat_template.jinja"
    if own.is_file():
        return own.read_text("utf-8")
    for name in ("tokenizer_config.json", "chat_template.json"):
        path = folder / name
        found = json.loads(path.read_text("utf-8")).get("chat_template") if path.is_file() else None
        if isinstance(found, list):  # named variants
            found = {variant["name"]: variant["template"] for variant in found}.get("default")
        if isinstance(found, str):
            return found
    raise Untrainable("The base has no chat template, so a chat cannot be turned into tokens. Train an instruct model.")


def training_template(folder: Path) -> str:
    """Returns the training form of a base's chat template. Raises Untrainable: there is none."""
    template = chat_template(folder)
    if _MARKED.search(template):
        return template
    for path in known_templates().glob("*_training.jinja"):
        plain = path.with_name(path.name.replace("_training", ""))
        if plain.is_file() and plain.read_text("utf-8") == template:
            return path.read_text("utf-8")
    raise Untrainable(
        "The base's chat template has no training form: nothing tells the assistant's words from the prompt. "
        "Mark them with {% generation %} … {% endgeneration %} in its chat_template.jinja, or train another base."
    )


def check_rewardable(folder: Path) -> None:
    """Raises Untrainable for a base whose answers have several channels: which of them to reward is not known here."""
    if "<|channel|>" in chat_template(folder):
        raise Untrainable(
            "The base answers in several channels, and its answers cannot be rewarded here. Train another."
        )


def known_templates() -> Path:
    trl = find_spec("trl")
    if trl is None or trl.origin is None:
        raise Untrainable("The training libraries are not installed. Install the extra: tunehook[trainer].")
    return Path(trl.origin).parent / "chat_templates"
