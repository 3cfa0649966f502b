"""Strangers' input, made safe to store and to show: a message's text, a name, interests.

All functions are pure, and take time in proportion to their input; no limit but a name's length is checked here. The
cleaning ones are idempotent. Their results are NFC (UAX #15, with the running Python's Unicode tables) and hold no
lone surrogate, so they can be encoded. They hold no invisible characters but those with which real words and emoji
are spelt, in their places, and no piles of combining marks.

Sources: docs/protocol.md, "A stranger's words"; UAX #31, tables 3 and 3a, for the signs inside names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from unicodedata import category, is_normalized, normalize

from mcp_facade.tools.invisible import is_blank, may_need_cleaning, without_hidden, without_invisible
from mcp_facade.tools.marks import is_mark, may_have_piled_marks, nfc, without_piled_marks

__all__ = ["ANONYMOUS", "NAME_CHARS_MAX", "LoneSurrogate", "clean_interests", "clean_message", "clean_name", "is_blank"]

ANONYMOUS = "Anonymous"
NAME_CHARS_MAX = 40

_PASSES_MAX = 4
_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")
_LINE_BREAK = re.compile(r"\r\n|[\r\x0b\x0c\x85\u2028\u2029]")  # UAX #14's mandatory breaks

_PLAIN_NAME = re.compile(rf"(?=.{{1,{NAME_CHARS_MAX}}}\Z)[\w.'-]+(?: [\w.'-]+)*", re.ASCII)
_SIGNS_ANYWHERE = " -_.'\u2019"
_SIGNS_AFTER_LETTERS = "\xb7\u058a\u05f3\u05f4\u0f0b\u2010\u2027\u30a0\u30fb"
_SIGNS_OF_TERMS = "+#&/"
_ALLOWED_INVISIBLE = "\u180e\u200c\u200d"  # that are no marks; for those that are, the letter decides
_EMOJI_STYLES = "\ufe0e\ufe0f"
_FULL_WIDTH_SIGNS = str.maketrans("＋＃＆／．＇－＿", "+#&/.'-_")


class LoneSurrogate(ValueError):  # noqa: N818 - Unicode's name for it
    """The text holds half of a UTF-16 pair, so it is invalid; the error does not hold the text."""


def clean_message(text: str) -> str:
    """Return `text` in NFC without characters unsafe for a stranger, and otherwise untouched.

    Every kind of line break (CRLF, CR, VT, FF, NEL, the line and the paragraph separator) becomes a newline. Other
    controls, bidi controls, tags, noncharacters and other invisible characters are dropped, but for those that a
    language or an emoji is spelt with, in their places (`mcp_facade.tools.invisible` has the rules). Spaces of rare
    widths become plain ones, and a character keeps a few combining marks (`mcp_facade.tools.marks`). Canonically
    equivalent texts give the same result. The result may be empty or blank.

    Raises:
        LoneSurrogate: the text holds a lone surrogate.
    """
    if text.isascii() and text.isprintable():
        return text
    if not may_need_cleaning(text):
        clean = normalize("NFC", text)
        if clean is text or not may_have_piled_marks(clean):
            return clean
    _refuse_lone_surrogates(text)
    return _settled(nfc(_LINE_BREAK.sub("\n", text)), _message_pass, _strict_message)


def clean_name(text: str) -> str:
    """Return a name of 1 to 40 characters: letters with marks, decimal digits, single spaces and `-_.'`.

    The typographic apostrophe stays too; the signs `+#&/` where a term is written with them, as in `C++`, `AT&T` and
    `AC/DC`; after a letter, the middle dots, hyphens and the like that UAX #31 lists; joiners and variants as in a
    message. White space of any kind becomes one space, none at the ends; other characters are dropped. A longer name
    is cut, never between a letter and its marks. If nothing visible is left it is `ANONYMOUS`.

    Raises:
        LoneSurrogate: the text holds a lone surrogate.
    """
    return _name(text) or ANONYMOUS


def clean_interests(items: Sequence[str]) -> tuple[str, ...]:
    """Return `items` cleaned as names and casefolded, in the order of their code points, without repeats.

    Items empty after cleaning are dropped. The caller checks their number.

    Raises:
        LoneSurrogate: an item holds a lone surrogate.
    """
    # Folding can lengthen a name and undo NFC, hence the second time.
    folded = (_name(_name(item).casefold()) for item in items)
    return tuple(sorted({item for item in folded if item}))


def _refuse_lone_surrogates(text: str) -> None:
    if _LONE_SURROGATE.search(text):
        raise LoneSurrogate("the text holds a lone surrogate")


def _settled(text: str, clean: Callable[[str], str], clean_strictly: Callable[[str], str]) -> str:
    """Return `text` cleaned until it changes no more, so the whole is idempotent.

    Removing a character lets its neighbours meet, which can leave another out of place. A text made to go on like
    that is cleaned by `clean_strictly` in the end, whose results `clean` does not change.
    """
    for _ in range(_PASSES_MAX):
        cleaner = clean(text)
        if cleaner == text:
            return text
        text = cleaner
    return clean_strictly(text)


def _message_pass(text: str) -> str:
    return nfc(without_piled_marks(nfc(without_hidden(text))))


def _strict_message(text: str) -> str:
    return without_piled_marks(nfc(without_invisible(text)))


def _name(text: str) -> str:
    """Clean like `clean_name`, but return an empty name if nothing visible is left."""
    if _PLAIN_NAME.fullmatch(text):
        return text
    if _is_of_letters(text):
        return text
    _refuse_lone_surrogates(text)
    name = _settled(text.translate(_FULL_WIDTH_SIGNS), _name_pass, _strict_name)
    return "" if is_blank(name) else name


def _is_of_letters(text: str) -> bool:
    """Return whether `text` is sure to be a clean name: letters, no marks, single spaces inside; a fast check."""
    return (
        text.replace(" ", "").isalpha()
        and len(text) <= NAME_CHARS_MAX
        and " ".join(text.split()) == text
        and not may_need_cleaning(text)
        and is_normalized("NFC", text)
    )


def _name_pass(text: str) -> str:
    text = clean_message(" ".join(text.split()))
    # Normalised again, because Hangul syllables can form where something between their parts was dropped.
    return _cut(" ".join(nfc("".join(_name_chars(text))).split()))


def _strict_name(text: str) -> str:
    signs = _SIGNS_OF_TERMS + _SIGNS_AFTER_LETTERS
    return _name_pass("".join(char for char in without_invisible(text) if char not in signs))


def _name_chars(text: str) -> Iterator[str]:
    """Yield the characters of `text` allowed in a name; marks and joiners go with their letter."""
    on_letter = False
    for place, char in enumerate(text):
        kind = category(char)
        if kind in {"Mn", "Mc"} or char in _ALLOWED_INVISIBLE:
            # A Persian suffix is joined to a number by a ZWNJ.
            if (on_letter and char not in _EMOJI_STYLES) or (char == "\u200c" and _is_of_a_word(text, place - 1)):
                yield char
            continue
        on_letter = kind[0] == "L"
        if on_letter or kind == "Nd" or char in _SIGNS_ANYWHERE or _is_of_a_term(text, place):
            yield char


def _is_of_a_term(text: str, place: int) -> bool:
    """Return whether the sign at `place` is written with the letters around it."""
    sign = text[place]
    if sign in _SIGNS_AFTER_LETTERS:
        return _is_of_a_word(text, place - 1)
    if sign in "+#":
        return _is_of_a_word(text, place - 1) or (text[place - 1] in "+#" and _is_of_a_word(text, place - 2))
    if sign == "&" and text[place - 1 : place + 2] == " & ":
        return _ends_a_term(text, place - 2) and _begins_a_term(text, place + 2)
    return sign in "&/" and _ends_a_term(text, place - 1) and _begins_a_term(text, place + 1)


def _ends_a_term(text: str, place: int) -> bool:
    return _is_of_a_word(text, place) or (place > 0 and text[place] in "+#")


def _begins_a_term(text: str, place: int) -> bool:
    return _is_of_a_word(text, place + (text[place : place + 1] == "."))


def _is_of_a_word(text: str, place: int) -> bool:
    if not 0 <= place < len(text):
        return False
    kind = category(text[place])
    return kind[0] in "LM" or kind == "Nd"


def _cut(name: str) -> str:
    if len(name) <= NAME_CHARS_MAX:
        return name
    end = NAME_CHARS_MAX
    while is_mark(name[end]):
        end -= 1
    return name[:end].rstrip(" ")
