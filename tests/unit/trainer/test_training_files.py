"""What a training file holds, as simulator and trainer see it when a job is made."""

import json
from typing import Any

import pytest

from wire.dataset import examine

USER = {"role": "user", "content": "Hello?"}


def problems(*rows: dict[str, Any]) -> dict[str, str]:
    return examine(json.dumps(row).encode() for row in rows).problems


@pytest.mark.parametrize("said", [{"content": None, "refusal": "I will not."}, {"refusal": "I will not."}])
def test_a_refusal_is_what_the_assistant_says(said: dict[str, Any]) -> None:
    assert "chat" not in problems({"messages": [USER, {"role": "assistant", **said}]})
    assert (
        "missing content"
        in problems({"messages": [USER | {"content": None} | said, {"role": "assistant", "content": "x"}]})["chat"]
    )


def test_a_preference_is_between_answers_of_the_assistant() -> None:
    row = {"input": {"messages": [USER]}, "preferred_output": [{"role": "assistant", "content": "x"}]}
    assert "preference" not in problems(row | {"non_preferred_output": row["preferred_output"]})
    found = problems(row | {"non_preferred_output": [USER]})["preference"]
    assert found == "Invalid file format. Example 1, non_preferred_output is not a message of the assistant"
