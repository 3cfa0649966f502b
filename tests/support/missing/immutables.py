"""A package that is missing: with this folder on `PYTHONPATH`, `projections.persistent_map` has the map of Python 3.14.

A process inherits that from the one that started it, so it is so for each server of a test too.
"""

raise ImportError("hidden by PYTHONPATH")
