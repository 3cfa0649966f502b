"""The number of examples of a property: all of them, or the share that the Hypothesis profile runs."""

from hypothesis import settings


def scaled(examples: int) -> int:
    """Return `examples`, or as many in 100 of them as a profile's `max_examples` says."""
    return max(1, examples * settings.default.max_examples // 100)
