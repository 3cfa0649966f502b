"""The number of examples of a property: all of them, or the Hypothesis profile's share."""

from hypothesis import settings


def scaled(examples: int) -> int:
    """Return `examples`, or the profile's share of them: `max_examples` in 100, and at least one."""
    return max(1, examples * settings.default.max_examples // 100)
