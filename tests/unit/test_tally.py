"""Counters and histograms as fields of one hash: what is written, and what is read from it."""

from tunehook.store import tally
from tunehook.store.engine.commit import Change


def written(*changes: Change) -> tuple[dict[str, str], list[str]]:
    """Returns the hash and the list of projects as these commits would leave them."""
    counts: dict[str, int] = {}
    projects: dict[str, None] = {}
    for change in changes:
        for name, _, field, by in change.commands:
            assert name == "HINCRBY"
            counts[field] = counts.get(field, 0) + int(by)
        projects |= dict.fromkeys(member for _, member in change.listed)
    return {field: str(count) for field, count in counts.items()}, list(projects)


def changed() -> Change:
    return Change("th:job:x", 1)


def test_a_histogram_has_an_observation_in_every_bucket_that_is_not_below_it() -> None:
    change, family = changed(), tally.DELIVERY_SECONDS
    for seconds in (-3.0, 0.01, 0.0101, 2.5, 99.0):
        tally.observe(change, family, ("delivered",), seconds)
    buckets = tally.parsed(*written(change)).histograms[family][("delivered",)]
    assert dict(zip(family.bounds, buckets.up_to(), strict=False)) == {
        0.01: 2, 0.025: 3, 0.05: 3, 0.1: 3, 0.25: 3, 0.5: 3, 1: 3, 2.5: 4, 5: 4, 10: 4,
    }  # fmt: skip
    assert buckets.up_to()[-1] == 5
    assert buckets.seconds == 0.01 + 0.01 + 2.5 + 99.0


def test_projects_after_the_first_hundred_are_one_series_that_never_falls() -> None:
    changes, sums = [], []
    for number in reversed(range(tally.MOST_PROJECTS + 20)):  # later ones come first by name
        changes.append(tally.count(changed(), tally.TRAINED_TOKENS, ("openai", f"p{number:03}"), 7))
        rows = tally.parsed(*_first(changes)).counters[tally.TRAINED_TOKENS]
        assert len(rows) <= tally.MOST_PROJECTS + 1
        sums.append(rows.get(("openai", tally.OTHER), 0))
    assert sums == sorted(sums)
    assert sums[-1] == 20 * 7
    assert sum(rows.values()) == 7 * len(changes)


def _first(changes: list[Change]) -> tuple[dict[str, str], list[str]]:
    fields, projects = written(*changes)
    return fields, projects[: tally.MOST_PROJECTS]


def test_a_project_is_listed_once_a_commit_and_nothing_is_counted_for_nothing() -> None:
    change = changed()
    for family in (tally.TRAINED_TOKENS, tally.SPENT_USD):
        tally.count(change, family, ("openai", "search"), 3)
    assert len(change.listed) == 1
    assert tally.count(changed(), tally.SPENT_USD, ("openai", "search"), 0) == changed()
    assert tally.parsed(*written(change)).counters[tally.SPENT_USD] == {("openai", "search"): 0.000003}


def test_fields_of_another_version_are_left_out() -> None:
    fields = {"tunehook_of_tomorrow\tx": "1", "tunehook_trained_tokens\topenai": "1", "": "1"}
    fields |= {"tunehook_delivery_duration_seconds\tdelivered\t77": "1"}
    found = tally.parsed(fields, [])
    assert not any(found.counters.values())
    assert not any(sum(row.counts) for rows in found.histograms.values() for row in rows.values())


def test_series_whose_labels_are_known_are_there_before_the_first_count() -> None:
    told = tally.parsed({}, ["search"], ["openai", "azure"])
    upstreams = [("openai",), ("azure",)]
    assert told.counters[tally.TRAINED_TOKENS] == {("openai", "search"): 0, ("azure", "search"): 0}
    assert told.counters[tally.UPLOADED_BYTES] == dict.fromkeys(upstreams, 0)
    assert told.counters[tally.UPSTREAM_ANSWERS]["azure", "none"] == 0
    assert list(told.histograms[tally.CREATED_SECONDS]) == upstreams
    assert set(told.histograms[tally.DELIVERY_SECONDS]) == {("delivered",), ("refused",), ("unanswered",)}
    assert told.histograms[tally.RECEIVED_SECONDS][()].up_to()[-1] == 0
