"""The common interface of a state and a working copy: all that a decision or a check reads.

So a program that goes through a whole log decides and checks on the working copy itself, by the same rules as a broker
on its states, and makes no state for each commit.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from events.commit import Commit, Tip
from events.ids import ConnectionId, Position, RoomId
from events.policy import Policy
from projections.connections import Connection
from projections.queue import Queue
from projections.rooms import Room

K_contra = TypeVar("K_contra", contravariant=True)
V_co = TypeVar("V_co", covariant=True)


class MapView(Protocol[K_contra, V_co]):
    """Values by their keys."""

    def __len__(self) -> int: ...

    def __contains__(self, key: object, /) -> bool: ...

    def __getitem__(self, key: K_contra, /) -> V_co: ...

    def get(self, key: K_contra, /) -> V_co | None:
        """Return the value at the key, or `None`."""
        ...


class OrderView(Protocol[V_co]):
    """Values in the order of their keys."""

    @property
    def count(self) -> int:
        """The number of values."""
        ...

    def get(self, key: int, /) -> V_co | None:
        """Return the value at the key, or `None`."""
        ...


class RoomsView(Protocol):
    """The kept rooms."""

    @property
    def by_id(self) -> MapView[RoomId, Room]:
        """Every kept room."""
        ...

    @property
    def closed(self) -> OrderView[RoomId]:
        """The closed ones, in the order of their closing."""
        ...

    @property
    def open_count(self) -> int:
        """The number of open rooms."""
        ...


class ConnectionsView(Protocol):
    """The known connections."""

    @property
    def by_id(self) -> MapView[ConnectionId, Connection]:
        """Every known connection."""
        ...

    @property
    def idle(self) -> OrderView[ConnectionId]:
        """The idle ones, in the order of becoming idle."""
        ...


class StateView(Protocol):
    """A `State` or a `StateMutation`."""

    @property
    def tip(self) -> Tip | Commit:
        """The last commit folded, or its tip."""
        ...

    @property
    def position(self) -> Position:
        """Its position."""
        ...

    @property
    def at_ms(self) -> int:
        """Its time (Unix ms)."""
        ...

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        ...

    @property
    def queue(self) -> Queue:
        """The waiting connections, immutable even for a working copy."""
        ...

    @property
    def rooms(self) -> RoomsView:
        """The rooms."""
        ...

    @property
    def connections(self) -> ConnectionsView:
        """The connections."""
        ...
