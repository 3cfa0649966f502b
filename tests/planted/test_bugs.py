"""Each bug still has a place in the source."""

from __future__ import annotations

import pytest

from tests.planted.bugs import BUGS, Bug
from tests.planted.plot import ROOT


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_bug_can_be_planted(bug: Bug) -> None:
    """The code that it replaces is there, once, and with the bug in its place it is Python still."""
    text = (ROOT / bug.path).read_text()
    assert text.count(bug.sound) == 1
    compile(text.replace(bug.sound, bug.broken), bug.path, "exec")
