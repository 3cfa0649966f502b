"""A missing package: with this folder on `PYTHONPATH`, `projections.persistent_map` uses the map of Python 3.14.

Processes inherit the variable, so a test's servers use it too.
"""

raise ImportError("hidden by PYTHONPATH")
