"""The learning rate of a job. OpenAI's API names a multiplier only, so each way of training has a rate of its own."""

from collections.abc import Mapping

#: Rates at a multiplier of 1, by "<method>.<training>". A base of models.json may name others (`learning_rates`).
LEARNING_RATES = {
    "supervised.lora": 2e-4,
    "supervised.qlora": 2e-4,
    "supervised.full": 2e-5,
    "dpo.lora": 1e-5,
    "dpo.qlora": 1e-5,
    "dpo.full": 1e-6,
}


def learning_rate(method: str, training: str, multiplier: float, of_base: Mapping[str, float]) -> float:
    """Returns the rate of the optimizer. `of_base`: the base's own rates, by the same names; it may be empty."""
    name = f"{method}.{training}"
    return of_base.get(name, LEARNING_RATES[name]) * multiplier
