"""What a tuned model says: the answer to the most similar question of its training file.  (pure)"""

import math
import re
from collections import Counter
from collections.abc import Sequence

from simulator.examples import Answer, text_of

_WORD = re.compile(r"\w+")


def _words(text: str) -> Counter[str]:
    return Counter(_WORD.findall(text.lower()))


def similarity(one: Counter[str], other: Counter[str]) -> float:
    """Cosine of two bags of words, 0 to 1."""
    shared = sum(count * other[word] for word, count in one.items())
    if not shared:
        return 0.0
    lengths = sum(c * c for c in one.values()) * sum(c * c for c in other.values())
    return shared / math.sqrt(lengths)


def nearest(answers: Sequence[Answer], question: str) -> Answer | None:
    """The first of the most similar; null when nothing was learned."""
    asked = _words(question)
    return max(answers, key=lambda answer: similarity(asked, _words(answer.question)), default=None)


def last_question(messages: Sequence[dict[str, object]]) -> str:
    """The last thing a user said, or the last thing said at all."""
    for message in reversed(messages):
        if message.get("role") == "user":
            return text_of(message.get("content"))
    return text_of(messages[-1].get("content")) if messages else ""


def tokens(text: str) -> int:
    """A plausible count: a token is about four characters."""
    return max(1, len(text) // 4)
