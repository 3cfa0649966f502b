"""The words of the operator to clients: where the rules are, and how to reach the operator."""

from __future__ import annotations

from typing import NamedTuple

from mcp_facade.texts import CONTACT_SENTENCE, INSTRUCTIONS, RULES_SENTENCE


class OperatorNotice(NamedTuple):
    """The settings `--rules-url` and `--operator-contact`, each checked before; `None` for one that is not set."""

    rules_url: str | None = None
    operator_contact: str | None = None

    def fields(self) -> dict[str, str]:
        """Return the fields of `chat://lobby`: only what is set."""
        return {name: value for name, value in self._asdict().items() if value is not None}

    def instructions(self) -> str:
        """Return the server's instructions, with a sentence at the end for each setting that is set."""
        sentences = []
        if self.rules_url is not None:
            sentences.append(RULES_SENTENCE.format(url=self.rules_url))
        if self.operator_contact is not None:
            sentences.append(CONTACT_SENTENCE.format(contact=self.operator_contact))
        return "\n".join([INSTRUCTIONS, "", *sentences]) if sentences else INSTRUCTIONS


NO_NOTICE = OperatorNotice()
