"""What may be passed to the Responses API of an upstream whose account all projects share."""

from typing import Any

import pytest

from tunehook.errors import InvalidParameter, MissingParameter
from tunehook.openai_format.responses import passed_on

ASKED: dict[str, Any] = {"model": "ft:x", "input": "Hello"}
FILE = [{"role": "user", "content": [{"type": "input_file", "file_id": "file-theirs"}]}]
EARLIER = [{"type": "item_reference", "id": "msg_theirs"}]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"stream": True, "store": False, "previous_response_id": None, "tools": None},
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": "file_id"}]}]},
        {"tools": [{"type": "function", "name": "f", "parameters": {}}, {"type": "custom", "name": "c"}]},
        {"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "f"}]}]},
        {"input": [{"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}]},
        {"input": [{"type": "function_call_output", "call_id": "call_1", "output": "7"}]},
    ],
)
def test_nothing_is_stored_for_a_project(more: dict[str, Any]) -> None:
    assert passed_on(ASKED | more) == {**ASKED, **more, "store": False}


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"previous_response_id": "resp_theirs"}, "previous_response_id"),
        ({"conversation": {"id": "conv_theirs"}}, "conversation"),
        ({"prompt": {"id": "pmpt_theirs"}}, "prompt"),
        ({"background": True}, "background"),
        ({"store": True}, "store"),
        ({"input": FILE}, "input"),
        ({"input": EARLIER}, "input"),
        ({"input": [{"id": "msg_theirs"}]}, "input[0]"),
        ({"input": [{"type": None, "id": "msg_theirs"}]}, "input[0]"),
        ({"input": [{"type": "reasoning", "id": "rs_theirs", "summary": []}]}, "input[0]"),
        ({"input": [{"type": "image_generation_call", "id": "ig_theirs"}]}, "input[0]"),
        ({"input": [{"type": "code_interpreter_call", "container_id": "cntr_theirs"}]}, "input[0]"),
        ({"input": [{"type": "tool_search_output", "tools": [{"type": "mcp"}]}]}, "input[0]"),
        ({"input": ["msg_theirs"]}, "input[0]"),
        ({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "mcp"}]}]}, "tools[0].tools[0].type"),
        ({"input": 7}, "input"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["vs_theirs"]}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}, {"type": "code_interpreter", "container": "auto"}]}, "tools[1].type"),
        ({"tools": {"type": "function"}}, "tools"),
        ({"tools": [{"type": []}]}, "tools[0].type"),
        ({"tools": [{"type": {"function": 1}}]}, "tools[0].type"),
        ({"tools": [{"type": "namespace", "tools": [{"type": ["function"]}]}]}, "tools[0].tools[0].type"),
        ({"input": [{"type": ["message"]}]}, "input[0]"),
    ],
)
def test_what_lies_at_the_upstream_cannot_be_named(more: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        passed_on(ASKED | more)
    assert refused.value.param == param


def test_a_response_needs_an_input() -> None:
    with pytest.raises(MissingParameter):
        passed_on({"model": "ft:x"})
