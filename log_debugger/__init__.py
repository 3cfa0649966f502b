"""The debugger: what a log tells whoever asks what happened, and why.

Each command is a module with `add_arguments` and `run`; `mcp_facade.cli` lists them. All of them read a `Source`
(a live broker's file, a dump), fold it as the broker does, and write nothing to it.
"""
