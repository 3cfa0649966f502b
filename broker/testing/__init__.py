"""For tests of your own: of a matching, a policy, a reader of logs, or of what is built on the broker.

`docs/testing.md` shows how. `BrokerMachine` is a state machine to subclass; `check_history` says which promise a
log does not keep; `strategies` and `sessions` make everything from names to whole logs; `Reference` decides a log's
commands again, by other means. It needs Hypothesis, which comes with the extra `testing`.
"""

try:
    import hypothesis as _hypothesis  # noqa: F401 - whether it is there
except ImportError:
    raise ImportError("broker.testing needs Hypothesis: pip install 'mcp-chat-broker[testing]'") from None

from broker.testing.clock import FakeClock
from broker.testing.driven import BrokenPromiseError, Outcome
from broker.testing.machine import BrokerMachine
from broker.testing.promises import check_history
from broker.testing.reference import Answer, Reference
from broker.testing.sessions import HERE, Session, Step, log_of, logs, sessions
from broker.testing.systems import Core, Happened, Served, System, served_from_a_file, served_from_memory
from broker.testing.witness import Broken

__all__ = [
    "HERE",
    "Answer",
    "Broken",
    "BrokenPromiseError",
    "BrokerMachine",
    "Core",
    "FakeClock",
    "Happened",
    "Outcome",
    "Reference",
    "Served",
    "Session",
    "Step",
    "System",
    "check_history",
    "log_of",
    "logs",
    "served_from_a_file",
    "served_from_memory",
    "sessions",
]
