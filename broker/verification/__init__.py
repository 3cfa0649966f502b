"""Deciding a log a second time: to check it, and to reduce a history to a small one with the same result.

The debugger and the test kit use this package. A serving broker does not import it.
"""
