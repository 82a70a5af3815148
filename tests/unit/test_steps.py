"""Which due members share a step."""

from worker.steps import TOGETHER, is_step, steps_for


def test_jobs_claimed_for_the_first_time_share_a_step_and_all_else_has_its_own() -> None:
    jobs = [f"job:ftjob-{number}" for number in range(TOGETHER["job"] + 3)]
    members = [*jobs, "sweep:parked", "copy:openai:abc"]
    steps = steps_for(members, first={*jobs[1:], "sweep:parked", "copy:openai:abc"})
    assert steps == [
        ("worker.steps.job", ("ftjob-0",)),
        ("worker.steps.sweep", ("parked",)),
        ("worker.steps.copy", ("openai", "abc")),
        ("worker.steps.jobs", tuple(f"ftjob-{number}" for number in range(1, 9))),
        ("worker.steps.jobs", ("ftjob-9", "ftjob-10")),
    ]
    assert all(is_step(path) for path, _ in steps)


def test_a_job_that_is_claimed_alone_runs_as_in_earlier_versions() -> None:
    assert steps_for(["job:ftjob-a"], first={"job:ftjob-a"}) == [("worker.steps.job", ("ftjob-a",))]
