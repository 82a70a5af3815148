"""What the simulated API refuses, and the recorded answers that can be asked for by name."""

from dataclasses import replace

from wire.problems import Problem, bad, no_such_file, no_such_job, no_such_model


def too_many_jobs(limit: int) -> Problem:
    # Users report the limit; nobody has published the body (code and words are ours).
    return Problem(
        429,
        f"You have reached the maximum number of concurrent fine-tuning jobs ({limit}). "
        "Please wait for one of them to finish.",
        "concurrent_jobs_limit_exceeded",
    )


_QUOTA = (
    "You exceeded your current quota, please check your plan and billing details. For more information on "
    "this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors."
)

# Name → the answer. Rows with a code of their own were recorded by users; http_* are the bare statuses.
NAMED: dict[str, Problem] = {
    "training_not_available": Problem(
        403, "Fine-tuning is no longer available for this organization.", "training_not_available"
    ),
    "daily_rate_limit_exceeded": Problem(
        429,
        "This fine-tune request has been rate-limited. Your organization has reached the maximum of 48 "
        "fine-tuning requests per day for this model.",
        "daily_rate_limit_exceeded",
    ),
    "concurrent_jobs": too_many_jobs(3),
    "insufficient_quota": Problem(429, _QUOTA, "insufficient_quota", None, "insufficient_quota"),
    "rate_limit_exceeded": Problem(
        429, "Rate limit reached for requests. Please try again in 1s.", "rate_limit_exceeded", None, "requests"
    ),
    "slow_down": Problem(429, "Slow down.", "slow_down", None, "rate_limit_error"),
    "server_is_overloaded": Problem(
        503, "The server is overloaded. Please try again later.", "server_is_overloaded", None, "server_error"
    ),
    "file_not_ready": bad(
        "File 'file-simulated' is still being processed and is not ready to be used for fine-tuning. "
        "Please try again later.",
        param="training_file",
    ),
    "model_not_available": bad(
        "Model is not available for fine-tuning or does not exist.", param="model", code="model_not_available"
    ),
    "fine_tune_not_found": no_such_job("ftjob-simulated"),
    "no_such_file": no_such_file("file-simulated"),
    "model_not_found": no_such_model("simulated"),
    "invalid_api_key": Problem(
        401, "Incorrect API key provided. You can find your API key in your account.", "invalid_api_key"
    ),
    "http_400": bad("The request was refused on demand."),
    "http_401": Problem(401, "Incorrect API key provided.", "invalid_api_key"),
    "http_403": Problem(403, "You are not allowed to do this.", "permission_denied"),
    "http_404": Problem(404, "Not found.", "not_found"),
    "http_408": Problem(408, "Request timed out.", None, None, "server_error"),
    "http_409": Problem(409, "Conflict with another request.", "conflict"),
    "http_429": Problem(429, "Too many requests.", "rate_limit_exceeded", None, "requests"),
    "http_500": Problem(
        500, "The server had an error while processing your request. Sorry about that!", None, None, "server_error"
    ),
    "http_502": Problem(502, "Bad gateway.", None, None, "server_error"),
    "http_503": Problem(503, "Service unavailable.", None, None, "server_error"),
    "http_504": Problem(504, "Gateway timeout.", None, None, "server_error"),
}

# These come with Retry-After in life; `seconds` of the fault says how many.
WITH_RETRY_AFTER = frozenset({"slow_down", "server_is_overloaded", "rate_limit_exceeded"})


def named(name: str, seconds: float | None) -> Problem:
    """A fresh copy of the answer called `name`; its Retry-After is `seconds` (2 where life sends one)."""
    if seconds is None and name not in WITH_RETRY_AFTER:
        return replace(NAMED[name])
    return replace(NAMED[name], headers={"Retry-After": str(round(2 if seconds is None else seconds))})
