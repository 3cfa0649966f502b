"""The debugger: commands that read a log, explain it, and never write to the log they read.

Folders by task:

- `commands/`: one module for each command, with `add_arguments(parser)` and `run(options, terminal)`;
  `mcp_facade.cli` lists them. `log load` and `log trim` are the two commands that write a log.
- `reading/`: opening a file, a shared store or a dump as a `Source`, folding it as the broker does, following it,
  the filter language, short names, times.
- `telling/`: output for people and programs: narrative lines, states, differences, timelines, figures; the screens
  of the stepper and of `top`.
- `testcase/`: the pytest case written by `test`.
- `whatif/`: the counterfactual run without some commits or under another policy, and its comparison with the log.
- `report/`: the HTML page written by `report`; its script and style are in `report/page/`.
- `terminal`: standard output, progress bars, and JSON that is safe for a terminal.
"""
