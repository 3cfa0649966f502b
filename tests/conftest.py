"""Settings of all tests: `HYPOTHESIS_PROFILE=daily` runs fewer examples; without it, each property runs all of them."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("daily", max_examples=20)
if profile := os.environ.get("HYPOTHESIS_PROFILE"):
    settings.load_profile(profile)
