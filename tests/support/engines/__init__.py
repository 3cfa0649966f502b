"""Real servers of the stores: each is started once a test process, on a free port, in a temporary directory."""
