"""The last line of `tunehook doctor`: what is left to do."""

import pytest

from cli import doctor
from tunehook.store.finding import Finding


async def mend() -> None:
    pass


HARMLESS = Finding("hold", "openai", "It is on hold.", grave=False)
GRAVE = Finding("lost", "ftjob-1", "It is not due.", mend=mend)


@pytest.mark.parametrize(
    ("found", "mended", "last"),
    [
        ([], [], "No errors: every job that has not ended is due, every pending delivery is scheduled."),
        ([HARMLESS], [], "1 found; nothing to do."),
        ([HARMLESS, GRAVE], [], "2 found, 0 mended, 1 errors left."),
        ([HARMLESS, GRAVE], [GRAVE], "2 found, 1 mended, 0 errors left."),
    ],
)
def test_the_last_line(
    found: list[Finding], mended: list[Finding], last: str, capsys: pytest.CaptureFixture[str]
) -> None:
    doctor._print(found, mended)
    assert capsys.readouterr().out.splitlines()[-1] == last
