"""The refusals of the tools: results with `{error, code}`, and more where it helps."""

from __future__ import annotations

from broker.broker import Broker
from broker.decision import Rejection
from events.ids import ConnectionId
from mcp_facade.texts import REFUSALS
from mcp_facade.tools.results import Answer, Json


class Refused(Exception):  # noqa: N818 - not a fault: the way out of a tool with a refusal
    """Carries the refusal."""

    def __init__(self, payload: Json, *, is_decided: bool = False) -> None:
        """`is_decided`: it is the writer's rejection of a command, which was counted and recorded there."""
        super().__init__()
        self.answer = Answer(payload, is_refusal=True)
        self.is_decided = is_decided


class Refusals:
    """Words the refusals of one broker, by the limits in force."""

    def __init__(self, broker: Broker) -> None:
        self._replica = broker.replica
        self._metrics = broker.metrics
        self._records = broker.records

    def rejected(self, rejection: Rejection, text: str | None = None, *, is_decided: bool = True) -> Refused:
        """Return the refusal for a rejection; `text` as in `of`, `is_decided` as in `Refused`."""
        more = {} if rejection.retry_after_ms is None else {"retry_after_ms": rejection.retry_after_ms}
        return Refused(self._payload(rejection.code, text or rejection.code, more), is_decided=is_decided)

    def of(self, code: str, text: str | None = None, **more: int) -> Refused:
        """Return a refusal of the facade's own; `text` is the key of its words, if not `code`."""
        return Refused(self._payload(code, text or code, more))

    def invalid(self, reason: str) -> Refused:
        """Return the refusal of arguments."""
        return Refused({"error": reason, "code": "invalid_arguments"})

    def unavailable(self) -> Refused:
        """Return the refusal of a call that can't be answered now."""
        return self.of("unavailable")

    def record(self, refusal: Refused, tool: str, who: ConnectionId | None) -> None:
        """Count a refusal of the facade's own, and record it beside the log; `who` was refused, if that is known."""
        if not refusal.is_decided:
            code = refusal.answer.payload["code"]
            self._metrics.rejected(code)
            self._records.record_refusal(who, tool, code)

    def _payload(self, code: str, text: str, more: dict[str, int]) -> Json:
        limits = {"message_bytes_max": self._replica.state.policy.message_bytes_max}
        return {"error": REFUSALS[text].format(**limits, **more), "code": code, **more}
