"""A matching of your own: people with a language among their interests meet each other.

In the folder of this file, `chat-broker whatif LOG --matching matching:same_language` lists the pairs and waits of
a log as they would have been. `docs/testing.md` says how to test a matching.
"""

from broker.matching import Seeker
from events.ids import ConnectionId
from projections.view import StateView

LANGUAGES = frozenset({"arabic", "chinese", "english", "french", "german", "hindi", "portuguese", "russian", "spanish"})


def same_language(state: StateView, seeker: Seeker, at_ms: int) -> ConnectionId | None:
    """Return the longest waiting connection with a common language; without a language, one without.

    Args:
        state: The present state: `queue.entries` has the waiting connections, the longest waiting first.
        seeker: The connection in search of a partner; it may be in the queue itself.
        at_ms: The time of the decision, Unix, in milliseconds.
    """
    spoken = LANGUAGES.intersection(seeker.interests)
    for _, who in state.queue.entries.items():  # noqa: PERF102 - an ordered map, which has no values()
        theirs = LANGUAGES.intersection(state.connections.by_id[who].interests)
        if who != seeker.connection_id and (spoken & theirs or not spoken | theirs):
            return who
    return None
