"""Whether the broker under test has its fast lane: the whole suite runs with it, and much of it without as well.

`TEST_FAST_LANE=0` takes it away, from brokers in this process and from those of their own.
"""

import os

FAST_LANE = os.environ.get("TEST_FAST_LANE", "1") != "0"
