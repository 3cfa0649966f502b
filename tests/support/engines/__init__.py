"""Real servers of the stores, for tests: each started once a test process, on a free port, in a temporary directory."""
