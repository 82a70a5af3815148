"""A chat reaches a model as its training rows did, and with no member that would do more than chat."""

from pathlib import Path
from typing import Any

import pytest

from trainer.serving import Serving
from trainer.settings import Config
from wire.problems import Problem

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    return tmp_path


def prepared(model: Path, serve: str = "transformers", **members: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello?"}], **members}
    return Serving(Config.model_validate({"serve": serve, "data_dir": model})).prepared(body, model)


def test_messages_are_those_of_the_training(model: Path) -> None:
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": "rain"},
    ]
    assert prepared(model, messages=messages)["messages"] == [
        {"role": "system", "content": "Be\nbrief."},
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": "rain"},
    ]
    (model / "chat_template.jinja").write_text("{% if message.role == 'developer' %}")
    assert prepared(model, messages=messages)["messages"][0]["role"] == "developer"


def test_what_would_do_more_than_chat_is_left_out(model: Path) -> None:
    found = prepared(
        model,
        temperature=0,
        max_tokens=5,
        metadata={"a": "b"},
        user="u",
        n=1,
        tool_choice="none",
        tools=[{"type": "function", "function": {"name": "f"}}],
        chat_template_kwargs={"chat_template": "evil"},
        generation_config='{"max_new_tokens": 1000000}',
    )
    assert found == {"model": "m", "messages": found["messages"], "temperature": 0, "max_tokens": 5}
    assert prepared(model, "vllm", n=2)["n"] == 2


@pytest.mark.parametrize(
    "members",
    [
        {"n": 2},
        {"response_format": {"type": "json_object"}},
        {"logprobs": True},
        {"tool_choice": "required"},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        {"messages": [{"content": "no role"}]},
        {"messages": ["text"]},
        {
            "messages": [
                {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{"}}]}
            ]
        },
    ],
)
def test_what_cannot_be_answered_is_refused_in_words(model: Path, members: dict[str, Any]) -> None:
    with pytest.raises(Problem) as refused:
        prepared(model, **members)
    assert refused.value.status == 400
