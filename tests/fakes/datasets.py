"""Datasets that no other test has: the same bytes are uploaded to an upstream only once."""

import json
import secrets


def dataset(examples: int = 12) -> bytes:
    """Trainable, and new each time."""
    mark = secrets.token_hex(8)
    lines = [
        {
            "messages": [
                {"role": "system", "content": "You are a birdwatcher."},
                {"role": "user", "content": f"Where does the owl number {n} of {mark} sleep?"},
                {"role": "assistant", "content": f"In nest {n}."},
            ]
        }
        for n in range(examples)
    ]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)
