"""Real servers for the tests of stores, one a process."""
