"""Deciding what a log holds a second time: to check it, and to find the smallest history that leads to the same.

The debugger and the test kit stand on this package. A broker that serves does not import it.
"""
