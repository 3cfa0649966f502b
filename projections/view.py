"""What can be read of a state and of a working copy of one alike: all that a decision and a check need.

So whoever goes through a whole log decides and checks on the working copy that it folds into, by the same rules as a
broker by its states, and makes no state for each commit.
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
        """What stands there, if anything does."""
        ...


class OrderView(Protocol[V_co]):
    """Values in the order of their keys."""

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    def get(self, key: int, /) -> V_co | None:
        """What stands there, if anything does."""
        ...


class RoomsView(Protocol):
    """The rooms that are kept."""

    @property
    def by_id(self) -> MapView[RoomId, Room]:
        """Every one of them."""
        ...

    @property
    def closed(self) -> OrderView[RoomId]:
        """Those that are over, in the order in which they ended."""
        ...

    @property
    def open_count(self) -> int:
        """How many conversations go on."""
        ...


class ConnectionsView(Protocol):
    """Where everybody is."""

    @property
    def by_id(self) -> MapView[ConnectionId, Connection]:
        """Everyone who is known."""
        ...

    @property
    def idle(self) -> OrderView[ConnectionId]:
        """Those who are idle, in the order in which they became so."""
        ...


class StateView(Protocol):
    """A `State` or a `StateMutation`."""

    @property
    def tip(self) -> Tip | Commit:
        """What was folded last; a commit stands for the tip that it is."""
        ...

    @property
    def position(self) -> Position:
        """Its position."""
        ...

    @property
    def at_ms(self) -> int:
        """Its time (Unix)."""
        ...

    @property
    def policy(self) -> Policy:
        """The limits that are in force."""
        ...

    @property
    def queue(self) -> Queue:
        """Who waits; of a working copy too it is one that stays what it is."""
        ...

    @property
    def rooms(self) -> RoomsView:
        """The conversations."""
        ...

    @property
    def connections(self) -> ConnectionsView:
        """Where everybody is."""
        ...
