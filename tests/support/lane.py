"""The choice of the fast lane for the broker under test: the suite runs with it, and much of it without as well.

`TEST_FAST_LANE=0` disables it, in brokers of this process and in broker processes.
"""

import os

FAST_LANE = os.environ.get("TEST_FAST_LANE", "1") != "0"
