"""The promises are numbered alike on the page, in the README and in the checks."""

from __future__ import annotations

import inspect
import re

from broker.verification.checking import PROMISES
from projections import event_checks, invariants
from tests.support.pages import Page

NUMBERS = list(range(1, 10))


def test_the_promises_are_numbered_as_the_checks_number_them() -> None:
    """There are nine, and every number in a check is on the page."""
    for page in (Page("docs/proof.md"), Page("README.md")):
        numbered = [int(number) for number in re.findall(r"^(\d+)\. ", page.section("Promises"), re.MULTILINE)]
        assert numbered == NUMBERS
    sources = inspect.getsource(invariants) + inspect.getsource(event_checks)
    checked = {int(number) for number in re.findall(r"(?:yield |[\[(]\()(\d+),", sources)}
    assert checked >= {1, 2, 3, 9}
    assert checked | set(PROMISES) <= set(NUMBERS)
