"""Graders at each server of ours, by OpenAI's client."""

from typing import Any

import openai
import pytest

from tests.contract.servers.conftest import Server

SAME: dict[str, Any] = {
    "type": "string_check",
    "name": "same",
    "input": "{{ sample.output_text }}",
    "reference": "{{item.answers[1].text}}",
    "operation": "eq",
}
INSIDE = SAME | {"input": "{{sample.output_json.bird}}", "operation": "ilike"}
BOTH = {"type": "multi", "name": "both", "graders": {"same": SAME, "inside": INSIDE}}
ITEM = {"answers": [{}, {"text": "owl"}]}


@pytest.mark.parametrize(
    ("grader", "sample", "reward", "error"),
    [
        (SAME, "owl", 1, None),
        (SAME, "Owl", 0, None),
        (SAME | {"operation": "ne"}, "Owl", 1, None),
        (SAME | {"operation": "like"}, "an owl", 1, None),
        (SAME | {"reference": "{{item.none}}"}, "owl", 0, "invalid_variable_error"),
        (SAME | {"reference": "{{item.answers[2].text}}"}, "owl", 0, "invalid_variable_error"),
        (INSIDE, '{"bird": "An Owl"}', 1, None),
        (INSIDE, "an owl", 0, "sample_parse_error"),
        (INSIDE, "[" * 5_000, 0, "sample_parse_error"),
        (SAME | {"input": "{{" + " " * 100_000}, "owl", 0, None),
        (SAME | {"reference": f"{{{{item.answers[{'9' * 5_000}]}}}}"}, "owl", 0, "invalid_variable_error"),
        (BOTH | {"calculate_output": "max(same, inside) ^ 2 - sqrt(4) / 4"}, '{"bird": "owl"}', 0.5, None),
        (BOTH | {"calculate_output": "1 / (same + inside - 1)"}, '{"bird": "owl"}', 0, "formula_parse_error"),
        (BOTH | {"calculate_output": "0.5 * same\n+ +inside"}, '{"bird": "owl"}', 1, None),
        (BOTH | {"calculate_output": "log(same)"}, '{"bird": "owl"}', 0, "formula_parse_error"),
        (BOTH | {"calculate_output": "1e300 * inside"}, '{"bird": "owl"}', 0, "formula_parse_error"),
        (BOTH | {"calculate_output": "exp(same + 9999)"}, '{"bird": "owl"}', 0, "formula_parse_error"),
    ],
)
async def test_a_grader_rewards(server: Server, grader: Any, sample: str, reward: float, error: str | None) -> None:
    ran = await server.client.fine_tuning.alpha.graders.run(grader=grader, model_sample=sample, item=ITEM)
    assert ran.reward == pytest.approx(reward)
    assert ran.metadata.name == grader["name"]
    assert [name for name, value in ran.metadata.errors.to_dict().items() if value] == ([error] if error else [])


async def test_a_grader_that_needs_a_model_is_refused(server: Server) -> None:
    grader: Any = {"type": "score_model", "name": "s", "model": "o3", "input": [{"role": "user", "content": "x"}]}
    with pytest.raises(openai.BadRequestError, match="cannot be run here"):
        await server.client.fine_tuning.alpha.graders.run(grader=grader, model_sample="x")
