"""A test kit for code built on the broker: a matching, a policy, a reader of logs, a client.

`docs/testing.md` is the guide. `BrokerMachine` is a state machine to subclass. `check_history` checks a log against the
promises. `strategies`, `scripts` and `logs` generate anything from names to whole logs. `ReferenceModel` is an
independent implementation of the rules. The package needs Hypothesis (the extra `testing`).
"""

try:
    import hypothesis as _hypothesis  # noqa: F401 - fails here if it is missing
except ImportError:
    raise ImportError("broker.testing needs Hypothesis: install mcp-chat-broker with its extra 'testing'") from None

from broker.testing.branches import UntriedBranchWarning
from broker.testing.checker import Counterexample
from broker.testing.clock import FakeClock
from broker.testing.machine import BrokerMachine
from broker.testing.promises import check_history
from broker.testing.reference_model import ReferenceModel, ReferenceResult
from broker.testing.scripts import CURRENT_ROOM, Script, TimedCommand, log_of, logs, scripts
from broker.testing.system_under_test import BrokenPromiseError, Outcome
from broker.testing.systems import BrokerSystem, CoreSystem, Observation, System, broker_in_file, broker_in_memory

__all__ = [
    "CURRENT_ROOM",
    "BrokenPromiseError",
    "BrokerMachine",
    "BrokerSystem",
    "CoreSystem",
    "Counterexample",
    "FakeClock",
    "Observation",
    "Outcome",
    "ReferenceModel",
    "ReferenceResult",
    "Script",
    "System",
    "TimedCommand",
    "UntriedBranchWarning",
    "broker_in_file",
    "broker_in_memory",
    "check_history",
    "log_of",
    "logs",
    "scripts",
]
