"""The names of a log in JetStream: its streams, subjects, buckets and headers."""

from __future__ import annotations

from typing import NamedTuple

COMMIT_HEADER = "Chat-Commit"
"""The header of a commit's message with the commit's id. Its data is the commit as a line of JSON."""


class Layout(NamedTuple):
    """The names of one log. The sequence of a message in `log_stream` is the position of its commit."""

    name: str

    @property
    def log_stream(self) -> str:
        """The stream of commits; it takes `log_subject` alone."""
        return f"{self.name}_LOG"

    @property
    def log_subject(self) -> str:
        """The subject of commits."""
        return f"{self.name}.log"

    @property
    def roster_subject(self) -> str:
        """The subject of the brokers' notes, which no stream keeps."""
        return f"{self.name}.roster"

    @property
    def deliveries_stream(self) -> str:
        """The bounded stream of deliveries."""
        return f"{self.name}_DELIVERIES"

    @property
    def deliveries_subject(self) -> str:
        """The subject of deliveries."""
        return f"{self.name}.deliveries"

    @property
    def meta_bucket(self) -> str:
        """The bucket of the format, the epoch, the secret and the base."""
        return f"{self.name}_META"

    @property
    def redacted_bucket(self) -> str:
        """The bucket of the commits that stand in for redacted ones, by position."""
        return f"{self.name}_REDACTED"

    @property
    def sessions_bucket(self) -> str:
        """The bucket of session records."""
        return f"{self.name}_SESSIONS"

    @property
    def snapshots_store(self) -> str:
        """The object store of snapshots."""
        return f"{self.name}_SNAPSHOTS"

    @property
    def streams(self) -> tuple[str, ...]:
        """All streams of the log, those of buckets and of the object store included."""
        buckets = self.meta_bucket, self.redacted_bucket, self.sessions_bucket
        return (
            self.log_stream,
            self.deliveries_stream,
            *(f"KV_{bucket}" for bucket in buckets),
            f"OBJ_{self.snapshots_store}",
        )
