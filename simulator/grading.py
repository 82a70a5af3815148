"""Rough graders: string checks exactly, similarities by one measure for all metrics.  (pure)"""

import ast
import difflib
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from wire.problems import bad


class Graded(NamedTuple):
    """`errors` are names of OpenAI's error flags that are true."""

    reward: float
    parts: dict[str, float]
    errors: frozenset[str]


_PLACE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")


class _Unknown(Exception):
    """A template names something that is neither in the sample nor in the item."""


def render(template: str, sample: str, item: Mapping[str, object]) -> str:
    def fill(found: re.Match[str]) -> str:
        value: object = {"sample": {"output_text": sample}, "item": item}
        for step in found[1].split("."):
            if not isinstance(value, Mapping) or step not in value:
                raise _Unknown(found[1])
            value = value[step]
        return str(value)

    return _PLACE.sub(fill, template)


_STRING: dict[str, Callable[[str, str], bool]] = {
    "eq": lambda given, reference: given == reference,
    "ne": lambda given, reference: given != reference,
    "like": lambda given, reference: reference in given,
    "ilike": lambda given, reference: reference.lower() in given.lower(),
}


def grade(grader: Mapping[str, Any], sample: str, item: Mapping[str, object]) -> Graded:
    """Raises Problem 400 for graders that need a Python sandbox or another model."""
    kind = grader["type"]
    if kind == "multi":
        return _multi(grader, sample, item)
    if kind not in {"string_check", "text_similarity"}:
        words = f"The simulator cannot run graders of type '{kind}', only string_check, text_similarity and multi."
        raise bad(words, param="grader.type", code="unsupported_grader")
    try:
        given, reference = (render(grader[name], sample, item) for name in ("input", "reference"))
    except _Unknown:
        return Graded(0.0, {}, frozenset({"invalid_variable_error"}))
    if kind == "string_check":
        return Graded(float(_STRING[grader["operation"]](given, reference)), {}, frozenset())
    alike = difflib.SequenceMatcher(None, given, reference, autojunk=False).ratio()
    return Graded(round(alike, 6), {}, frozenset())


def _multi(grader: Mapping[str, Any], sample: str, item: Mapping[str, object]) -> Graded:
    parts: dict[str, float] = {}
    errors: frozenset[str] = frozenset()
    for name, one in grader["graders"].items():
        found = grade(one, sample, item)
        parts[name] = found.reward
        errors |= found.errors
    try:
        reward = _value(ast.parse(grader["calculate_output"], mode="eval").body, parts)
    except (SyntaxError, ValueError, ArithmeticError, RecursionError):
        return Graded(0.0, parts, errors | {"formula_parse_error"})
    return Graded(reward, parts, errors)


_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def _value(node: ast.expr, parts: Mapping[str, float]) -> float:
    """A formula of names, numbers, + - * / and min, max, abs. Raises ValueError for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.Name) and node.id in parts:
        return parts[node.id]
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        return _OPERATORS[type(node.op)](_value(node.left, parts), _value(node.right, parts))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, parts)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords and node.args:
        values = [_value(argument, parts) for argument in node.args]
        if node.func.id in {"min", "max"}:
            return min(values) if node.func.id == "min" else max(values)
        if node.func.id == "abs" and len(values) == 1:
            return abs(values[0])
    raise ValueError("not a formula")
