"""`python -m benchmarks.untuned serve`: the broker with garbage collection as Python comes, for a comparison."""

import gc
import sys
from unittest.mock import patch

from mcp_facade.main import main

if __name__ == "__main__":
    with patch.multiple(gc, set_threshold=lambda *thresholds: None, freeze=lambda: None):
        sys.exit(main())
