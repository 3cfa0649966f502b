"""The whole broker, simulated: real code on a loop, a clock, a network and a store that a seed decides about.

`python -m tests.simulation` runs it, and `docs/decisions/0016-simulation-has-its-own-loop.md` says why it is like this.
"""
