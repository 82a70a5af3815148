"""Each rule of each format: the code, where, and that its neighbour passes."""

from typing import Any

import pytest

from tests.unit.dataset.lines import GOOD, codes_of, good, jsonl, report_of
from tests.unit.dataset.test_checker import CALL, COMPLETION, PAIR, RFT
from tunehook.dataset.codes import CODES

SYSTEM, USER, ANSWER = GOOD["messages"]
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
BOTH_CALLS = {"role": "assistant", "tool_calls": [CALL, CALL | {"id": "c2"}]}
PART, FIRST_CALL = "$.messages[2].content[0]", "$.messages[2].tool_calls[0]"
TEXT = {"type": "text", "text": "Wren"}
PNG = "data:image/png;base64,"


def chat(*messages: Any, **members: Any) -> dict[str, Any]:
    return {"messages": list(messages), **members}


def named_tools(n: int, name: str = "f{}") -> list[Any]:
    return [{"type": "function", "function": {"name": name.format(i), "parameters": {}}} for i in range(n)]


def says(**members: Any) -> dict[str, Any]:
    return {"role": "assistant", **members}


def calls(call: Any, tools: Any = TOOLS, **members: Any) -> dict[str, Any]:
    return chat(SYSTEM, USER, says(tool_calls=[call]), tools=tools, **members)


def tells(call_id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "4"}


def called(**function: Any) -> dict[str, Any]:
    return CALL | {"function": {"name": "f", "arguments": "{}"} | function}


def looks(*images: Any, role: str = "user") -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": image} for image in images]
    return chat(SYSTEM, USER, {"role": role, "content": parts}, ANSWER)


CHAT: list[tuple[Any, str, str]] = [
    (chat(SYSTEM, USER, "Hello", ANSWER), "data_type", "$.messages[2]"),
    (GOOD | {"tools": {}}, "data_type", "$.tools"),
    (GOOD | {"functions": 1}, "data_type", "$.functions"),
    (GOOD | {"parallel_tool_calls": "yes"}, "data_type", "$.parallel_tool_calls"),
    (GOOD | {"id": 7}, "example_unrecognized_key", "$"),
    (chat(SYSTEM, USER | {"tool_calls": [CALL]}, ANSWER), "message_unrecognized_key", "$.messages[1].tool_calls"),
    (chat(SYSTEM, USER, says(content="a", weight=2)), "invalid_weight", "$.messages[2].weight"),
    (chat(SYSTEM, USER, says(content="a", weight=True)), "invalid_weight", "$.messages[2].weight"),
    (chat(SYSTEM, USER | {"weight": 1}, ANSWER), "weight_ignored", "$.messages[1].weight"),
    (chat(SYSTEM, USER, says(content="a", weight=0)), "weight_zero_everywhere", "$.messages"),
    (chat(USER, ANSWER), "no_system_message", "$.messages"),
    (chat(SYSTEM, ANSWER), "no_user_message", "$.messages"),
    (chat(SYSTEM, USER, ANSWER, USER), "last_message_not_assistant", "$.messages[3]"),
    (chat(SYSTEM, USER, says(content=" \n")), "empty_answer", "$.messages[2].content"),
    (chat(SYSTEM | {"content": ""}, USER, ANSWER), "empty_content", "$.messages[0].content"),
    (chat(SYSTEM, USER, says(content="THIS IS A WREN, MY FRIEND")), "uppercase_answer", "$.messages[2].content"),
    (chat(SYSTEM, USER, says(content="Wr\0en")), "nul_character", "$.messages[2].content"),
    (chat(SYSTEM, USER | {"name": "Ann Smith"}, ANSWER), "invalid_name", "$.messages[1].name"),
    (chat(SYSTEM, {"role": "user", "content": ["Hi"]}, ANSWER), "invalid_content_part", "$.messages[1].content[0]"),
    (chat(SYSTEM, USER, {"role": "user", "content": [{"type": "text"}]}, ANSWER), "invalid_content_part", PART),
    (looks({"url": "http://e.com/a.png"}), "invalid_image", f"{PART}.image_url.url"),
    (looks({"url": "data:image/gif;base64,AAAA"}), "invalid_image", f"{PART}.image_url.url"),
    (looks({"url": PNG + "A" * 13_400_000}), "invalid_image", f"{PART}.image_url.url"),
    (looks({"url": "https://e.com/a.png", "detail": "max"}), "invalid_image", f"{PART}.image_url.detail"),
    (looks("https://e.com/a.png"), "invalid_image", PART),
    (looks({"url": "https://e.com/a.png"}, role="assistant"), "image_in_answer", PART),
    (looks(*[{"url": "https://e.com/a.png"}] * 11), "too_many_images", "$.messages"),
    (GOOD | {"tools": [{"type": "f"}]}, "invalid_tool", "$.tools[0]"),
    (GOOD | {"tools": [{"type": "function", "function": {"name": "a b"}}]}, "invalid_tool", "$.tools[0].function.name"),
    (calls(called(arguments={"a": 1})), "invalid_tool_call", f"{FIRST_CALL}.function.arguments"),
    (calls(CALL | {"id": ""}), "invalid_tool_call", f"{FIRST_CALL}.id"),
    (calls("f()"), "invalid_tool_call", FIRST_CALL),
    (calls(CALL | {"function": None}), "invalid_tool_call", f"{FIRST_CALL}.function"),
    (calls(called(arguments="{a: 1}")), "arguments_not_json", f"{FIRST_CALL}.function.arguments"),
    (calls(called(arguments="[1]")), "arguments_not_json", f"{FIRST_CALL}.function.arguments"),
    (calls(called(arguments='"{\\"a\\": 1}"')), "arguments_doubly_encoded", f"{FIRST_CALL}.function.arguments"),
    (calls(called(name="g")), "unknown_tool", f"{FIRST_CALL}.function.name"),
    (calls(CALL, tools=None), "unknown_tool", f"{FIRST_CALL}.function.name"),
    (
        chat(SYSTEM, USER, says(tool_calls=[CALL]), tells("c2"), ANSWER, tools=TOOLS),
        "unknown_tool_call_id",
        "$.messages[3].tool_call_id",
    ),
    (chat(SYSTEM, USER, {"role": "tool", "content": "4"}, ANSWER), "message_missing_key", "$.messages[2]"),
    (GOOD | {"functions": [{"name": "f"}]}, "deprecated_functions", "$.functions"),
    (GOOD | {"weight": 1.0}, "example_unrecognized_key", "$"),
    (GOOD | {"tools": named_tools(129)}, "too_many_tools", "$.tools"),
    (GOOD | {"functions": [{"name": f"f{i}"} for i in range(129)]}, "too_many_tools", "$.functions"),
    (GOOD | {"tools": named_tools(2, "f")}, "duplicate_tool", "$.tools[1].function.name"),
    (
        chat(SYSTEM, USER, says(tool_calls=[CALL]), ANSWER, tools=TOOLS),
        "unanswered_tool_call",
        "$.messages[2].tool_calls",
    ),
    (
        chat(SYSTEM, USER, says(tool_calls=[CALL]), USER, tells("c1"), ANSWER, tools=TOOLS),
        "unanswered_tool_call",
        "$.messages[2].tool_calls",
    ),
    (
        chat(SYSTEM, USER, BOTH_CALLS, tells("c1"), ANSWER, tools=TOOLS),
        "unanswered_tool_call",
        "$.messages[2].tool_calls",
    ),
    (
        chat(SYSTEM, USER, BOTH_CALLS, tells("c2"), tools=TOOLS),
        "unanswered_tool_call",
        "$.messages[2].tool_calls",
    ),
    (
        chat(SYSTEM, USER, says(tool_calls=[CALL]), tells("c1") | {"content": [TEXT]}, ANSWER, tools=TOOLS),
        "tool_result_in_parts",
        "$.messages[3].content",
    ),
    (looks({"url": PNG + "not base64"}), "invalid_image", f"{PART}.image_url.url"),
    (looks({"url": PNG + "iVBORw0KGgo"}), "invalid_image", f"{PART}.image_url.url"),
    (looks({"url": PNG + "iVBOR-_KGgo="}), "invalid_image", f"{PART}.image_url.url"),
    (chat(SYSTEM, USER | {"content": "a <|fim_suffix|> b"}, ANSWER), "control_token", "$.messages[1].content"),
    (chat(SYSTEM, USER, says(content="Wren<|endoftext|>")), "control_token", "$.messages[2].content"),
    (chat(SYSTEM, USER, says(content="<|im_start|>assistant")), "control_token", "$.messages[2].content"),
    (chat(SYSTEM, USER, says(refusal="<|im_end|>")), "control_token", "$.messages[2].refusal"),
    (chat(SYSTEM, USER | {"content": [TEXT | {"text": "<|endofprompt|>"}]}, ANSWER), "control_token",
     "$.messages[1].content[0].text"),
    (calls(called(arguments='{"a": "<|fim_prefix|>"}')), "control_token", f"{FIRST_CALL}.function.arguments"),
    (
        chat(SYSTEM, USER, says(function_call={"name": "f", "arguments": "{}"})),
        "deprecated_functions",
        "$.messages[2].function_call",
    ),
]  # fmt: skip
OTHERS: list[tuple[str, Any, str, str]] = [
    ("preference", GOOD, "missing_input", "$.input"),
    ("preference", PAIR | {"input": {"messages": []}}, "missing_input", "$.input.messages"),
    ("preference", {k: v for k, v in PAIR.items() if k != "preferred_output"}, "missing_output", "$"),
    ("preference", PAIR | {"preferred_output": ANSWER}, "invalid_output", "$.preferred_output"),
    ("preference", PAIR | {"preferred_output": [ANSWER, ANSWER]}, "invalid_output", "$.preferred_output"),
    ("preference", PAIR | {"non_preferred_output": [USER]}, "invalid_output", "$.non_preferred_output[0].role"),
    ("preference", PAIR | {"input": GOOD}, "input_not_open", "$.input.messages[2]"),
    ("preference", PAIR | {"non_preferred_output": PAIR["preferred_output"]}, "identical_outputs", "$"),
    ("preference", PAIR | {"score": 1}, "example_unrecognized_key", "$"),
    ("preference", PAIR | {"input": chat({"role": "you", "content": "a"}, USER)}, "unrecognized_role",
     "$.input.messages[0].role"),
    ("preference", PAIR | {"input": chat(looks({"url": PNG + "AAAA"})["messages"][2])}, "image_in_preference",
     "$.input.messages[0].content[0]"),
    ("preference", PAIR | {"preferred_output": [says(content="<|im_end|>")]}, "control_token",
     "$.preferred_output[0].content"),
    ("reinforcement", GOOD, "last_message_not_user", "$.messages[2]"),
    ("reinforcement", {"answer": 1}, "missing_messages_list", "$.messages"),
    ("completion", {"completion": "a"}, "missing_prompt", "$.prompt"),
    ("completion", {"prompt": "a", "completion": 1}, "missing_completion", "$.completion"),
    ("completion", {"prompt": "a", "completion": ""}, "empty_answer", "$.completion"),
    ("completion", COMPLETION | {"id": 1}, "example_unrecognized_key", "$"),
    ("completion", COMPLETION | {"prompt": ""}, "empty_prompt", "$.prompt"),
    ("completion", COMPLETION | {"prompt": " \n"}, "empty_prompt", "$.prompt"),
    ("completion", COMPLETION | {"prompt": "<|endoftext|>Name one:"}, "control_token", "$.prompt"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("form", "example", "code", "path"), [("chat", *case) for case in CHAT] + OTHERS, ids=lambda v: str(v)[:60]
)
def test_rule(form: str, example: Any, code: str, path: str) -> None:
    report = report_of(jsonl(example), form)
    found = [f for f in report.findings if f.code == code]
    assert [f.path for f in found] == [path]
    assert found[0].line == 1
    assert found[0].severity == CODES[code].severity
    assert found[0].message.endswith(".")


@pytest.mark.parametrize(
    ("form", "example"),
    [
        ("chat", GOOD | {"tools": TOOLS, "parallel_tool_calls": False}),
        ("chat", calls(CALL)),
        ("chat", chat(SYSTEM, USER, says(tool_calls=[CALL]), tells("c1"), ANSWER, tools=TOOLS)),
        ("chat", calls(called(arguments='{"a": [1, 2]}'))),
        ("chat", chat(SYSTEM, USER, says(content=None, refusal="No."))),
        ("chat", chat(SYSTEM, USER, says(content="first", weight=0), USER, says(content="second", weight=1))),
        ("chat", chat(SYSTEM, USER, says(content="POSITIVE"))),
        ("chat", chat(SYSTEM, USER | {"name": "ann_1"}, says(content=[{"type": "text", "text": "Wren"}]))),
        ("chat", looks(*[{"url": "https://e.com/a"}] * 10)),
        ("chat", looks({"url": PNG + "AAAA", "detail": "low"})),
        ("preference", PAIR),
        ("preference", {
            "input": {**PAIR["input"], "tools": [], "parallel_tool_calls": True},
            "preferred_completion": PAIR["preferred_output"],
            "non_preferred_completion": PAIR["non_preferred_output"],
        }),
        ("reinforcement", RFT),
        ("reinforcement", {"messages": [{"role": "developer", "content": "Name a bird."}], "any": {"thing": [None]}}),
        ("completion", COMPLETION),
        ("completion", {"prompt": "Say <| and <|fim|>", "completion": "Wren"}),
        ("chat", chat(SYSTEM, USER | {"weight": None, "tool_calls": None}, ANSWER | {"weight": None}, tools=None)),
        ("chat", chat(SYSTEM, USER, BOTH_CALLS, tells("c2"), tells("c1"), ANSWER, tools=TOOLS)),
        ("chat", GOOD | {"tools": named_tools(128)}),
    ],
    ids=lambda v: str(v)[:60],
)  # fmt: skip
def test_what_is_right_passes(form: str, example: Any) -> None:
    assert codes_of(example, form) == set()


def test_images_are_counted() -> None:
    report = report_of(jsonl(looks({"url": PNG + "AAAA"}), good(1), looks({"url": PNG + "BBBB"})))
    assert report.image_examples == 2


def test_a_line_of_another_format_is_called_so() -> None:
    assert "completion format" in report_of(jsonl(COMPLETION)).summary()
    assert "chat format" in report_of(jsonl(GOOD), "preference").summary()


def test_what_is_there_is_not_called_missing() -> None:
    (found,) = report_of(jsonl({"messages": None})).findings
    assert found.message == "`messages` is null."
    (found,) = report_of(jsonl({"tools": []})).findings
    assert found.message == "`messages` is missing."
