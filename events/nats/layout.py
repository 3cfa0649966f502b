"""The names of a log in JetStream: its streams, subjects, buckets and headers."""

from __future__ import annotations

from typing import NamedTuple

from events.ids import CommitId, Position

STAND_INS_PER_GROUP = 1_000
"""The number of positions with stand-ins in one group of subjects, to be removed at once."""

COMMIT_HEADER = "Chat-Commit"
"""The header of a commit's message with the commit's id. Its data is the commit as a line of JSON."""


class Layout(NamedTuple):
    """The names of one log. The sequence of a message in `log_stream` is the position of its commit.

    A commit's subject ends with the first digits of its id. So an append can demand a last commit: a server compares
    the last sequence of a subject, and knows nothing of ids.
    """

    name: str

    @property
    def log_stream(self) -> str:
        """The stream of commits; it takes `log_subjects` alone."""
        return f"{self.name}_LOG"

    @property
    def log_subjects(self) -> str:
        """The subjects of commits."""
        return f"{self.name}.log.*"

    def log_subject(self, commit_id: CommitId) -> str:
        """Return the subject of the commit `commit_id`, one of 4,096."""
        return f"{self.name}.log.{commit_id[:3]}"

    @property
    def turns_stream(self) -> str:
        """The stream of one message: the turn to write."""
        return f"{self.name}_TURNS"

    @property
    def turns_subject(self) -> str:
        """The subject of the turn's message."""
        return f"{self.name}.turn"

    @property
    def turn_notes_subject(self) -> str:
        """The subject for notes about the begin and the end of turns; no stream keeps them."""
        return f"{self.name}.turn-notes"

    @property
    def roster_subject(self) -> str:
        """The subject of the brokers' notes; no stream keeps them."""
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
    def operations_stream(self) -> str:
        """The stream of operation records, bounded for each subject."""
        return f"{self.name}_OPERATIONS"

    @property
    def operations_subjects(self) -> str:
        """The subjects of operation records."""
        return f"{self.name}.operations.>"

    def operations_subject(self, kind: str) -> str:
        """Return the subject of records: `refused`, `other`, or `running.` and a broker."""
        return f"{self.name}.operations.{kind}"

    @property
    def meta_bucket(self) -> str:
        """The bucket of the format, the epoch, the secret and the base."""
        return f"{self.name}_META"

    @property
    def redacted_bucket(self) -> str:
        """The bucket of redacted commits, by position."""
        return f"{self.name}_REDACTED"

    @property
    def stand_in_subjects(self) -> str:
        """The subjects of all stand-ins."""
        return f"$KV.{self.redacted_bucket}.>"

    def stand_in_subject(self, position: Position) -> str:
        """Return the subject of the redacted commit at `position`: a key of the bucket."""
        return f"$KV.{self.redacted_bucket}.{position // STAND_INS_PER_GROUP}.{position}"

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
        """All streams of the log, those of buckets and of the object store included; the bucket `META` is the last."""
        return (
            self.log_stream,
            self.deliveries_stream,
            self.operations_stream,
            self.turns_stream,
            f"OBJ_{self.snapshots_store}",
            *(f"KV_{bucket}" for bucket in (self.redacted_bucket, self.sessions_bucket, self.meta_bucket)),
        )
