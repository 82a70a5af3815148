"""A project's limits and its months of money. Pure.

Money is counted in millionths of a US dollar: whole numbers, which sums keep exact.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Literal

from tunehook.model.record import Record

MILLION = 1_000_000
#: More is not told apart: sums of such amounts are still whole numbers in Redis, and in its scripts.
MOST = 9 * 10**15


class ProjectSettings(Record):
    """The limits of a project; None: no limit. Months and days are UTC's."""

    unsettled_jobs: int | None = None  #: accepted, and not ended yet
    jobs_per_day: int | None = None
    stored_bytes: int | None = None  #: of its files
    requests_per_minute: int | None = None
    streams: int | None = None  #: event streams at a time, in each process of the API
    monthly_budget_usd: float | None = None
    over_budget: Literal["refuse", "hold"] = "refuse"  #: a job that does not fit is refused, or waits for approval

    @property
    def budget(self) -> int | None:
        """The budget of a month, in millionths."""
        asked = self.monthly_budget_usd
        return None if asked is None else int((Decimal(str(asked)) * MILLION).to_integral_value(ROUND_FLOOR))


NO_LIMITS = ProjectSettings()


class Money(Record):
    """A job's part of its project's budget. Amounts in millionths of a dollar.

    `wanted`: the budget has not been asked yet. `awaiting`: it does not fit, an operator decides. `held`: it counts
    as used. `spent`: the job is over.
    """

    state: Literal["wanted", "awaiting", "held", "spent"]
    amount: int | None = None  #: the estimate, or the limit that the request states; None until it is known
    month: str = ""  #: whose budget it is part of, such as 2026-11
    spent: int = 0  #: by the upstream's own count, once the job is over

    @property
    def held(self) -> int:
        return (self.amount or 0) if self.state == "held" else 0


def millionths(usd: float | Decimal) -> int:
    """Returns an amount in millionths, rounded up; 9 billion dollars at most."""
    return int(min(Decimal(str(usd)) * MILLION, Decimal(MOST)).to_integral_value(ROUND_CEILING))


def dollars(amount: int) -> float:
    return amount / MILLION


def day_of(seconds: float) -> str:
    """Returns the day in UTC, such as 2026-11-26."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def month_of(seconds: int) -> str:
    """Returns the month in UTC, such as 2026-11."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m")


def month_after(month: str) -> date:
    """Returns the first day of the month after."""
    year, number = (int(part) for part in month.split("-"))
    return date(year + number // 12, number % 12 + 1, 1)
