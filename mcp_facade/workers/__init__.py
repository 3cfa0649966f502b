"""Several processes that serve one port: the workers, and their supervisor (`--workers`)."""
