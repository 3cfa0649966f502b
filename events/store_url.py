"""The URL of a shared store, before its parts are used or shown."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from events.log import UnusableLogError


def split_url(url: str) -> SplitResult:
    """Return the parts of `url`.

    A `/`, `?` or `#` in a password ends it, and its rest would be taken for a path or a setting, and be shown.

    Raises:
        UnusableLogError: it is malformed, or its password holds such a character.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise UnusableLogError("the URL of the log is malformed: write [ and ] only around an IPv6 address") from None
    if has_cut_password(parts):
        raise UnusableLogError(
            "the URL of the log has an @ after its host; write / in a password as %2F, ? as %3F, # as %23 and @ as %40"
        )
    return parts


def has_cut_password(parts: SplitResult) -> bool:
    """Return whether the password seems to go on after the host.

    A path to a socket may hold an `@`, and so may the value of a setting after a path.
    """
    settings = parts.query.partition("=")[0] if parts.path else parts.query
    return bool(parts.netloc) and "@" in parts.path + parts.fragment + settings
