"""The refusals of the tools: results with `{error, code}`, and more where it helps."""

from __future__ import annotations

from broker.decision import Rejection
from broker.metrics import Metrics
from broker.replica import Replica
from mcp_facade.texts import REFUSALS
from mcp_facade.tools.results import Answer, Json


class Refused(Exception):  # noqa: N818 - not a fault: the way out of a tool with a refusal
    """Carries the refusal."""

    def __init__(self, payload: Json) -> None:
        super().__init__()
        self.answer = Answer(payload, is_refusal=True)


class Refusals:
    """Words the refusals of one broker, by the limits in force."""

    def __init__(self, replica: Replica, metrics: Metrics) -> None:
        self._replica = replica
        self._metrics = metrics

    def rejected(self, rejection: Rejection, text: str | None = None) -> Refused:
        """Return the refusal for a rejection, which was counted where it was decided; `text` as in `of`."""
        more = {} if rejection.retry_after_ms is None else {"retry_after_ms": rejection.retry_after_ms}
        return Refused(self._payload(rejection.code, text or rejection.code, more))

    def of(self, code: str, text: str | None = None, **more: int) -> Refused:
        """Return a refusal of the facade's own, and count it; `text` is the key of its words, if not `code`."""
        self._metrics.rejected(code)
        return Refused(self._payload(code, text or code, more))

    def invalid(self, reason: str) -> Refused:
        """Return the refusal of arguments, and count it."""
        self._metrics.rejected("invalid_arguments")
        return Refused({"error": reason, "code": "invalid_arguments"})

    def unavailable(self) -> Refused:
        """Return the refusal of a call that can't be answered now."""
        return self.rejected(Rejection("unavailable"))

    def _payload(self, code: str, text: str, more: dict[str, int]) -> Json:
        limits = {"message_bytes_max": self._replica.state.policy.message_bytes_max}
        return {"error": REFUSALS[text].format(**limits, **more), "code": code, **more}
