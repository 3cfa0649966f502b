"""The whole broker, simulated: real code on a loop, a clock, a network and a store under the control of a seed.

`python -m tests.simulation` runs it; `docs/decisions/0016-simulation-has-its-own-loop.md` has the reasons.
"""
