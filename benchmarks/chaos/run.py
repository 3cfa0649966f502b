"""The common state of all people of a round."""

import time

from benchmarks.chaos.deployment import Deployment
from benchmarks.chaos.options import ChaosOptions
from benchmarks.chaos.presence import ObservedIdentity
from benchmarks.soak.options import SoakOptions
from benchmarks.soak.run import SoakRun


class ChaosRun(SoakRun):
    """Shared state of the people of one round."""

    def __init__(self, deployment: Deployment, options: ChaosOptions, seed: int) -> None:
        pace = SoakOptions(
            connections=options.listeners,
            seed=seed,
            stream_grace_s=options.grace_s,
            idle_grace_s=options.grace_s,
            busy=1.0,
            min_think_s=options.think_s,
        )
        super().__init__(deployment.port, pace)
        self.rate.think_s = options.think_s
        self.url = deployment.url
        self.identities: dict[str, ObservedIdentity] = {}
        """All identities by their names, which are unique."""
        self.acknowledged: dict[str, list[str]] = {}
        """The acknowledged messages of each connection, in the order of their sending."""
        self._deployment = deployment

    def identity(self, name: str) -> ObservedIdentity:
        """Return the new identity of this name."""
        identity = self.identities[name] = ObservedIdentity(name, self._deployment.kills)
        return identity

    def vanished(self, who: ObservedIdentity) -> None:
        """Note that `who` gives no sign of life any more."""
        who.gone_s = time.time()
        self.ledger.gone_names.add(who.name)
