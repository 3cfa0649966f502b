"""What a decision, a matching or a check reads of a state: two interfaces.

`FoldView` is common to a state and a working copy. So a program that goes through a whole log decides and checks on the
working copy itself, by the same rules as a broker on its states, and makes no state for each commit.

`StateView` is that of a state, and has more: what it holds can be listed. It is what a matching is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from events.commit import Commit, Tip
from events.ids import ConnectionId, Position, RoomId
from events.policy import Policy
from projections.connections import Connection, MetPartner
from projections.queue import Queue
from projections.rooms import Room

K = TypeVar("K")
K_contra = TypeVar("K_contra", contravariant=True)
V_co = TypeVar("V_co", covariant=True)


class FoldMap(Protocol[K_contra, V_co]):
    """Values by their keys."""

    def __len__(self) -> int: ...

    def __contains__(self, key: object, /) -> bool: ...

    def __getitem__(self, key: K_contra, /) -> V_co: ...

    def get(self, key: K_contra, /) -> V_co | None:
        """Return the value at the key, or `None`."""
        ...


class MapView(FoldMap[K, V_co], Protocol[K, V_co]):
    """Values by their keys, which can be listed.

    The order of the list is another one in each process. So no answer of a matching may depend on it.
    """

    def items(self) -> Iterable[tuple[K, V_co]]:
        """Return the keys with their values, in no order."""
        ...


class FoldOrder(Protocol[V_co]):
    """Values in the order of their keys."""

    @property
    def count(self) -> int:
        """The number of values."""
        ...

    def get(self, key: int, /) -> V_co | None:
        """Return the value at the key, or `None`."""
        ...


class OrderView(FoldOrder[V_co], Protocol[V_co]):
    """Values in the order of their keys, which can be listed."""

    def items(self) -> Iterable[tuple[int, V_co]]:
        """Return the keys with their values, in the order of the keys."""
        ...


class FoldRooms(Protocol):
    """The kept rooms."""

    @property
    def by_id(self) -> FoldMap[RoomId, Room]:
        """Every kept room."""
        ...

    @property
    def closed(self) -> FoldOrder[RoomId]:
        """The closed ones, in the order of their closing."""
        ...

    @property
    def open_count(self) -> int:
        """The number of open rooms."""
        ...


class RoomsView(FoldRooms, Protocol):
    """The kept rooms, which can be listed."""

    @property
    def by_id(self) -> MapView[RoomId, Room]:
        """Every kept room."""
        ...

    @property
    def closed(self) -> OrderView[RoomId]:
        """The closed ones, in the order of their closing."""
        ...


class FoldConnections(Protocol):
    """The known connections."""

    @property
    def by_id(self) -> FoldMap[ConnectionId, Connection]:
        """Every known connection."""
        ...

    @property
    def idle(self) -> FoldOrder[ConnectionId]:
        """The idle ones, in the order of becoming idle."""
        ...


class ConnectionsView(FoldConnections, Protocol):
    """The known connections, which can be listed."""

    @property
    def by_id(self) -> MapView[ConnectionId, Connection]:
        """Every known connection."""
        ...

    @property
    def idle(self) -> OrderView[ConnectionId]:
        """The idle ones, in the order of becoming idle."""
        ...

    def partners_of(self, connection_id: ConnectionId) -> Sequence[MetPartner]:
        """Return the last partners of a connection; see `Connections.partners_of`."""
        ...


class FoldView(Protocol):
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
    def rooms(self) -> FoldRooms:
        """The rooms."""
        ...

    @property
    def connections(self) -> FoldConnections:
        """The connections."""
        ...


class StateView(FoldView, Protocol):
    """A `State`, or one whose queue lacks those whom a seeker must avoid."""

    @property
    def rooms(self) -> RoomsView:
        """The rooms."""
        ...

    @property
    def connections(self) -> ConnectionsView:
        """The connections."""
        ...
