"""Brokers on one log, and pairs who talk through them."""

from benchmarks.clients import BenchmarkClients
from benchmarks.load import fixed_rate
from benchmarks.server import Server, python
from benchmarks.wire import MODERN

WARM_UP_MESSAGES = 500


def broker(log_url: str, *flags: str) -> Server:
    """Start a broker on the log."""
    return Server(*python("mcp_facade.main", "serve", f"--log={log_url}", "--log-level=warning", *flags))


class BrokerGroup:
    """Some brokers on one log. The two of each pair are at different ones, if there are several."""

    def __init__(self, log_url: str, brokers: int, pairs: int) -> None:
        self._servers = [broker(log_url) for _ in range(brokers)]
        self._pairs = pairs
        self._crowd: BenchmarkClients | None = None

    @property
    def crowd(self) -> BenchmarkClients:
        """The pairs."""
        assert self._crowd is not None, "it is open"
        return self._crowd

    async def open(self) -> None:
        """Wait for the brokers, make the pairs, and warm up."""
        for server in self._servers:
            await server.ready()
        self._crowd = BenchmarkClients(*(server.port for server in self._servers), protocol_version=MODERN)
        await self.crowd.watch(self.crowd.gather_pairs(self._pairs))
        await self.crowd.redial()
        await fixed_rate(self.crowd, 200, WARM_UP_MESSAGES)

    async def talk(self, rate_per_second: int, messages: int) -> tuple[float, list[float]]:
        """Send by the clock; return the brokers' CPU seconds a message, and the seconds to each delivery, sorted."""
        await self.crowd.redial()
        cpu_s = self._cpu_seconds()
        seconds = await fixed_rate(self.crowd, rate_per_second, messages)
        await self.crowd.settle()
        return (self._cpu_seconds() - cpu_s) / messages, seconds

    def _cpu_seconds(self) -> float:
        return sum(server.cpu_seconds() for server in self._servers)

    def close(self) -> None:
        """Close the clients, and stop the brokers."""
        if self._crowd is not None:
            self._crowd.close()
        for server in self._servers:
            server.stop()
