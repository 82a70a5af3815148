"""The codes of findings: severity, meaning and what to do. docs/datasets.md has the same table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Code:
    """A kind of finding. An error is what the upstream would refuse; with a warning it would train, but …"""

    severity: Severity
    about: str
    hint: str


def _error(about: str, hint: str) -> Code:
    return Code("error", about, hint)


def _warning(about: str, hint: str) -> Code:
    return Code("warning", about, hint)


# The first block has the names of OpenAI's cookbook ("Data preparation and analysis for chat model fine-tuning"),
# because users know them; its faults (refusing tool calls, the role tool and image parts) are not copied.
CODES: dict[str, Code] = {
    "data_type": _error(
        "The line, or a member of it, has the wrong JSON type", "Give the member the type that the message names."
    ),
    "missing_messages_list": _error(
        "The line has no non-empty `messages` list", 'Write {"messages": [{"role": "user", "content": "…"}, …]}.'
    ),
    "message_missing_key": _error("A message lacks `role` or `content`", "Give every message a role and a content."),
    "message_unrecognized_key": _error(
        "A message has a member the upstream does not know", "Remove the member, or correct its spelling."
    ),
    "unrecognized_role": _error(
        "A message's role is none of the known ones",
        "Use system, developer, user, assistant, tool or function (deprecated).",
    ),
    "missing_content": _error(
        "A message has nothing to say: no text, no tool call", "Give it a text, or remove the message."
    ),
    "example_missing_assistant_message": _error(
        "No assistant message: there is nothing to learn from", "End the example with the answer to be learnt."
    ),
    # The file as a whole
    "empty_file": _error("The file holds no examples", "Write one JSON object a line."),
    "too_few_examples": _error("Fewer than 10 examples", "The upstream trains on 10 or more; 50 to 100 are advised."),
    "not_jsonl": _error("The file is not JSONL (it looks like JSON, CSV or text)", "Turn it with `tunehook build`."),
    "other_shape": _error("The lines have the shape of another tool", "Use `tunehook build` or POST /v1/datasets."),
    "wrong_encoding": _error(
        "The file is UTF-16, UTF-32, compressed, a table or a spreadsheet", "Write one JSON object a line, in UTF-8."
    ),
    "cr_line_ends": _error(
        "Lines end in CR alone (old Macintosh): the file is one line", "Save it with LF at the end of each line."
    ),
    "byte_order_mark": _error(
        "The file begins with a byte order mark, which OpenAI reads as broken JSON",
        'Save it as "UTF-8", not "UTF-8 with BOM".',
    ),
    "checking_stopped": _error(
        "100,000 lines have errors, or there are 1,000,000 findings in such lines, or there are 100,000 more empty "
        "lines than examples: the rest was not read",
        "Check how the file was made; correct what was found, and check it again.",
    ),
    "too_many_image_examples": _error("More than 50,000 examples with images", "Leave some of them out."),
    # The line as JSON
    "invalid_json": _error("The line is not JSON", "Write each example with a JSON library, one a line."),
    "invalid_utf8": _error("The line is not UTF-8", "Save the file as UTF-8."),
    "nul_byte": _error("The line holds a NUL byte", "Remove it; such files were often cut or saved as UTF-16."),
    "not_a_number": _error("NaN or Infinity, which JSON does not have", "Write null or a number."),
    "lone_surrogate": _error(
        "Half of a surrogate pair (\\ud800 to \\udfff), which is no character",
        "A text was cut inside an emoji: cut it elsewhere.",
    ),
    "number_too_long": _error("A number of more than 4,300 digits", "Write it as a string."),
    "too_deep": _error("Nested more than 200 levels deep", "Flatten it, or write the inner part as a string."),
    "line_too_long": _error(
        "The line is longer than the checker reads (16 MiB unless set otherwise)",
        "Check for lost line ends; link large images by https instead of embedding them.",
    ),
    "line_too_intricate": _error(
        "A line of more than 1 MiB with more than 500,000 brackets and commas, or one with 1,000 findings",
        "No example is like that: check how the file was made.",
    ),
    "duplicate_key": _warning("An object names a member twice: the last one counts", "Remove one of the two."),
    "blank_line": _warning("An empty line", "Remove it: some upstreams refuse it."),
    "crlf": _warning("Lines end in CR LF (Windows)", "Harmless; save with LF to be safe."),
    # Chat
    "example_unrecognized_key": _error(
        "The line has a member that its format does not have", "Remove it: the upstream refuses the file."
    ),
    "control_token": _error(
        "A text holds a control token of the vocabulary, such as <|endoftext|>",
        "Remove it: the upstream sets such tokens itself and refuses the file.",
    ),
    "invalid_weight": _error("`weight` is neither 0 nor 1", "Write 1 (learn this answer) or 0 (do not)."),
    "weight_ignored": _warning("`weight` on a message that is no answer", "Only assistant messages have a weight."),
    "weight_zero_everywhere": _warning(
        "Every answer of the example has weight 0: nothing is learnt from it", "Give one answer weight 1."
    ),
    "no_system_message": _warning(
        "No system message", "Use the same system message in training as later in production."
    ),
    "no_user_message": _warning("No user message", "Show what the user said before the answer."),
    "last_message_not_assistant": _warning(
        "The example goes on after its last answer; the rest teaches nothing", "End with an assistant message."
    ),
    "empty_answer": _warning(
        "An answer is empty: the model learns to say nothing", "Write the answer, or drop the example."
    ),
    "empty_content": _warning("A message other than an answer is empty", "Write its text, or drop the message."),
    "uppercase_answer": _warning("An answer is all in capitals", "Ordinary spelling is learnt better."),
    "nul_character": _warning("A text holds the character NUL (\\u0000)", "Remove it."),
    "invalid_name": _warning("`name` is not 1 to 64 of a-z, A-Z, 0-9, _ and -", "Use only those characters."),
    "invalid_content_part": _error(
        "A part of a message's content is not usable", "Use text parts, and image_url in user messages."
    ),
    "invalid_image": _error(
        "An image is neither https nor a JPEG, PNG or WEBP data URI in base64 of at most 10 MB", "Link or embed it so."
    ),
    "image_in_answer": _error("An image outside a user message", "Only user messages may show images."),
    "too_many_images": _error("More than 10 images in one example", "Leave some of them out."),
    # Tools
    "invalid_tool": _error(
        "A tool is not described as the API wants it", 'Write {"type": "function", "function": {"name", "parameters"}}.'
    ),
    "invalid_tool_call": _error(
        "A tool call is not written as the API writes it",
        'Write {"id", "type": "function", "function": {"name", "arguments": "<JSON as a string>"}}.',
    ),
    "arguments_not_json": _warning(
        "A call's arguments are not JSON: the model learns to write broken calls",
        "Write a JSON object, encoded once as a string.",
    ),
    "arguments_doubly_encoded": _warning(
        "A call's arguments are JSON encoded twice: the model learns to do the same", "Encode the object once."
    ),
    "too_many_tools": _error("More than 128 tools in one example", "Leave some of them out."),
    "duplicate_tool": _warning("Two tools of one name", "Rename one of them, or remove it."),
    "unanswered_tool_call": _error(
        "A call is not answered before the next turn",
        "Add a `tool` message with its id right after it; only a call in the last message needs none.",
    ),
    "tool_result_in_parts": _warning(
        "A tool's answer is a list of parts, which OpenAI was seen to refuse", "Write its content as one text."
    ),
    "unknown_tool": _warning("A call to a tool that `tools` does not list", "List it in the line's `tools`."),
    "unknown_tool_call_id": _warning("A tool's answer to a call that was not made", "Use the id of a call before it."),
    "deprecated_functions": _warning(
        "`functions` and `function_call` are deprecated", "Write `tools` and `tool_calls`."
    ),
    # Preference
    "missing_input": _error("No `input` with a `messages` list", 'Write "input": {"messages": […]}.'),
    "missing_output": _error(
        "No preferred or no non-preferred output", 'Write "preferred_output" and "non_preferred_output".'
    ),
    "invalid_output": _error(
        "An output is not a list of one assistant message", 'Write [{"role": "assistant", "content": "…"}].'
    ),
    "input_not_open": _error(
        "The input does not end with a user's or a tool's turn", "Move the answer into the outputs."
    ),
    "image_in_preference": _error("An image in a preference example", "DPO trains on text alone: remove it."),
    "identical_outputs": _error(
        "Both outputs are the same: there is nothing to prefer", "Make them differ, or drop the example."
    ),
    # Reinforcement and completion
    "last_message_not_user": _error(
        "The last message is not the user's", "End with the user's turn; the answer is sampled."
    ),
    "grader_item_missing": _error(
        "The grader reads a member that not every line has", "Add it to every line, or correct the grader."
    ),
    "missing_prompt": _error("No `prompt` text", 'Write {"prompt": "…", "completion": "…"}.'),
    "empty_prompt": _warning(
        "A prompt is empty: OpenAI takes it, Azure refuses the file", "Write the prompt, if Azure shall train on it."
    ),
    "missing_completion": _error("No `completion` text", 'Write {"prompt": "…", "completion": "…"}.'),
    # The dataset as such
    "format_misfit": _error(
        "The file's format is not what the method trains the model on",
        "Write the lines in the format that is needed, or name another method or model.",
    ),
    "few_examples": _warning("Fewer than 50 examples", "50 to 100 are advised to begin with."),
    "duplicate_example": _warning("The same example as an earlier line", "Remove it, unless it shall count twice."),
    "duplicates_not_searched": _warning(
        "Duplicates were looked for in the first 4,000,000 lines only", "Look for the others yourself."
    ),
    "over_token_limit": _warning(
        "More tokens than the model trains on: the rest is cut", "Shorten or split the example."
    ),
    "answer_cut": _warning(
        "No answer is left within the limit: all tokens are paid, nothing is learnt",
        "Shorten what precedes the answer.",
    ),
    "validation_overlap": _warning(
        "A validation example is also in the training file", "Remove it from one of the two."
    ),
}


def has_error(codes: Iterable[str]) -> bool:
    return any(CODES[code].severity == "error" for code in codes)
