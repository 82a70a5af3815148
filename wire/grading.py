"""Graders that need no model and no sandbox: string checks, similarities, and formulas of these.  (pure)"""

import ast
import json
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from wire.problems import bad
from wire.shapes import Row

#: (metric, text, reference) → 0 to 1.
Similarity = Callable[[str, str, str], float]


class Graded(NamedTuple):
    """`errors` are names of OpenAI's error flags that are true."""

    reward: float
    parts: dict[str, float]
    errors: frozenset[str]


_PLACE = re.compile(r"\{\{([^{}]*)\}\}")  # blanks are stripped later: \s* on both sides takes cubic time
_STEP = re.compile(r"[^.\[\]]+")
_RUN_HERE = {"string_check", "text_similarity"}
#: A larger reward is none: a trainer computes with 32 bits.
_MOST = 1e30


class _Unknown(Exception):
    """A template names something that is neither in the sample nor in the item."""


def check(grader: Mapping[str, Any], param: str = "grader") -> None:
    """Raises Problem 400 for graders that need a Python sandbox or another model, and for nested ones."""
    for one in several(grader):
        if one["type"] not in _RUN_HERE:
            inside = " in a multi" if one is not grader else ", or multi of these"
            words = f"Graders of type '{one['type']}' cannot be run here: take string_check or text_similarity{inside}."
            raise bad(words, param=f"{param}.type", code="unsupported_grader")


def several(grader: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns the graders that a grader is made of: itself, or those of a multi."""
    return list(grader["graders"].values()) if grader["type"] == "multi" else [grader]


def names(grader: Mapping[str, Any]) -> set[str]:
    """Returns what a grader's templates name, such as `item.answer`."""
    templates = (str(one[member]) for one in several(grader) for member in ("input", "reference"))
    return {found.strip() for template in templates for found in _PLACE.findall(template)}


def missing(grader: Mapping[str, Any], item: Mapping[str, object]) -> str | None:
    """Returns a member of the line that a grader names and the line lacks; None: it has all."""
    for name in sorted(names(grader)):
        try:
            if name.startswith("item."):
                _filled(f"{{{{{name}}}}}", "", item)
        except _Unknown:
            return name
    return None


def grade(grader: Mapping[str, Any], sample: str, item: Mapping[str, object], similarity: Similarity) -> Graded:
    """Returns what an answer earns. `grader`: one that `check` lets pass; `item`: the line that was answered."""
    if grader["type"] == "multi":
        return _multi(grader, sample, item, similarity)
    try:
        given, reference = (_filled(grader[name], sample, item) for name in ("input", "reference"))
    except _Unknown:
        return Graded(0.0, {}, frozenset({"invalid_variable_error"}))
    except (ValueError, RecursionError):
        return Graded(0.0, {}, frozenset({"sample_parse_error"}))
    if grader["type"] == "string_check":
        return Graded(float(_STRING[grader["operation"]](given, reference)), {}, frozenset())
    return Graded(round(similarity(grader["evaluation_metric"], given, reference), 6), {}, frozenset())


def _filled(template: str, sample: str, item: Mapping[str, object]) -> str:
    """Returns a template with its values. Raises _Unknown, and ValueError: the sample is no JSON, and is to be."""

    def fill(found: re.Match[str]) -> str:
        value: object = {"sample": {"output_text": sample}, "item": item}
        for step in _STEP.findall(found[1].strip()):
            if isinstance(value, Mapping) and step == "output_json" and value.get("output_text") is sample:
                value = json.loads(sample)
            elif isinstance(value, Mapping) and step in value:
                value = value[step]
            elif isinstance(value, list) and step.isdecimal() and len(step) < 10 and int(step) < len(value):
                value = value[int(step)]
            else:
                raise _Unknown(found[1])
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    return _PLACE.sub(fill, template)


_STRING: dict[str, Callable[[str, str], bool]] = {
    "eq": lambda given, reference: given == reference,
    "ne": lambda given, reference: given != reference,
    "like": lambda given, reference: reference in given,
    "ilike": lambda given, reference: reference.lower() in given.lower(),
}


def _multi(grader: Mapping[str, Any], sample: str, item: Mapping[str, object], similarity: Similarity) -> Graded:
    parts: dict[str, float] = {}
    errors: frozenset[str] = frozenset()
    for name, one in grader["graders"].items():
        found = grade(one, sample, item, similarity)
        parts[name] = found.reward
        errors |= found.errors
    try:
        return Graded(formula(grader["calculate_output"], parts), parts, errors)
    except (ValueError, ArithmeticError):
        return Graded(0.0, parts, errors | {"formula_parse_error"})


def formula(text: str, parts: Mapping[str, float]) -> float:
    """Returns the value of a multi's formula. Raises ValueError: it is none; ArithmeticError: it has no value."""
    try:
        found = _value(ast.parse(" ".join(text.split()).replace("^", "**"), mode="eval").body, parts)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError("not a formula") from error
    if not abs(found) < _MOST:
        raise ArithmeticError(found)
    return found


_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: lambda base, power: _in_domain(math.pow, base, power),
}
_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "abs": abs,
    "floor": math.floor,
    "ceil": math.ceil,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "log": math.log,
}


def _value(node: ast.expr, parts: Mapping[str, float]) -> float:
    """Returns the value of a formula of names, numbers, operators and functions. Raises ValueError for others."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.Name) and node.id in parts:
        return parts[node.id]
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left, parts), _value(node.right, parts))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        found = _value(node.operand, parts)
        return -found if isinstance(node.op, ast.USub) else found
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords and node.args:
        values = [_value(argument, parts) for argument in node.args]
        if node.func.id in {"min", "max"}:
            return min(values) if node.func.id == "min" else max(values)
        if node.func.id in _FUNCTIONS and len(values) == 1:
            return float(_in_domain(_FUNCTIONS[node.func.id], values[0]))
    raise ValueError("not a formula")


def _in_domain(function: Callable[..., float], *values: float) -> float:
    """Returns a value. Raises ArithmeticError where the function has none, as the logarithm of 0."""
    try:
        return function(*values)
    except ValueError as error:
        raise ArithmeticError(*values) from error


_FLAGS = (
    "formula_parse_error", "sample_parse_error", "truncated_observation_error", "unresponsive_reward_error",
    "invalid_variable_error", "other_error", "python_grader_server_error", "python_grader_runtime_error",
    "model_grader_server_error", "model_grader_refusal_error", "model_grader_parse_error",
)  # fmt: skip
_DETAILS = (
    "python_grader_server_error_type", "python_grader_runtime_error_details", "model_grader_server_error_details",
)  # fmt: skip


def shown(grader: Mapping[str, Any], graded: Graded, seconds: float) -> Row:
    """Returns the answer to a run of a grader. `seconds`: how long it took."""
    errors: Row = {name: name in graded.errors for name in _FLAGS} | dict.fromkeys(_DETAILS)
    return {
        "reward": graded.reward,
        "metadata": {
            "name": grader["name"],
            "type": grader["type"],
            "errors": errors,
            "execution_time": seconds,
            "scores": graded.parts,
            "token_usage": None,
            "sampled_model_name": None,
        },
        "sub_rewards": graded.parts,
        "model_grader_token_usage_per_model": {},
    }
