"""Strangers' input, made safe to store and to show: a message's text, a name, interests.

All three functions are pure and idempotent, and take time in proportion to their input; no limit but a name's length
is checked here. Their results are NFC (UAX #15, with the running Python's Unicode tables) and hold no lone
surrogate, so they can be encoded. They hold no invisible characters but the joiners and the two presentation
selectors, which real words and emoji need.

Sources: DESIGN.md, 'Strangers' words and secrets'; Unicode's Default_Ignorable_Code_Point for invisible characters;
RFC 5892 appendix A and UAX #29 rule GB11 for joiners; UTS #39 section 5.4 for stacked marks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Literal
from unicodedata import category, combining, normalize

ANONYMOUS = "Anonymous"
NAME_CHARS_MAX = 40
NONSPACING_MARKS_PER_LETTER_MAX = 4  # UTS #39; Burmese needs all four, more is only ever a pile
MARKS_PER_LETTER_MAX = 6  # with those that take room of their own; Burmese needs five

_ZWNJ, _ZWJ = "\u200c", "\u200d"
_EMOJI_STYLE = "\ufe0f"
_VIRAMA = 9  # Canonical_Combining_Class

# Apart from those beyond U+FFFF, because `re` looks through a class eight times as fast if it has none.
_FORBIDDEN_CLASS = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 with ESC, DEL, C1 with CSI; tab and newline stay
    r"\xad\u034f\u061c"  # soft hyphen, grapheme joiner, Arabic letter mark
    r"\u115f\u1160\u3164\uffa0"  # Hangul fillers
    r"\u17b4\u17b5\u180b-\u180f"  # Khmer's inherent vowels, Mongolian selectors and vowel separator
    r"\u200b\u200e\u200f"  # zero-width space, direction marks
    r"\u2028-\u202e"  # line and paragraph separator, bidi embeddings and overrides
    r"\u2060-\u206f"  # word joiner, invisible operators, bidi isolates, deprecated format characters
    r"\ufe00-\ufe0d\ufeff"  # variation selectors but the last two, byte order mark
    r"\ufff0-\ufffb"  # unassigned but ignorable, interlinear annotation
    r"\ufdd0-\ufdef\ufffe\uffff"  # noncharacters
)
_FORBIDDEN_BEYOND_CLASS = (
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"  # shorthand's and music's format characters
    r"\U000e0000-\U000e0fff"  # tags, supplementary variation selectors
) + "".join(rf"\U{plane:04x}fffe-\U{plane:04x}ffff" for plane in range(1, 17))  # noncharacters

_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")
_FORBIDDEN = re.compile(f"[{_FORBIDDEN_CLASS}]")
_FORBIDDEN_BEYOND = re.compile(f"[{_FORBIDDEN_BEYOND_CLASS}]")
# A text without any of these is clean but for NFC; few clean texts have one.
_SUSPECT = re.compile(rf"[\ud800-\udfff{_ZWNJ}{_ZWJ}{_FORBIDDEN_CLASS}]")
_SUSPECT_BEYOND = re.compile(r"[\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U0001fffe-\U0010ffff]")
_LINE_BREAK = re.compile(r"\r\n|[\r\x0b\x0c\x85\u2028\u2029]")  # UAX #14's mandatory breaks
_JOINERS = re.compile(f"([{_ZWNJ}{_ZWJ}]+)")

# By block, to include letters that Unicode adds to one later; a separate test tells letters from the rest.
_WORD_BLOCKS = re.compile(
    r"[\u0600-\u08ff\U00010d00-\U00010d3f\U00010ec0-\U00010eff"  # Arabic, Syriac, N'Ko, Mandaic, Rohingya
    r"\u0900-\u0dff\u1cd0-\u1cff\ua830-\ua83f\ua8e0-\ua8ff"  # Devanagari to Sinhala, Vedic extensions
    r"\u0f00-\u109f\u1700-\u17ff\u1900-\u1c4f\ua800-\ua82f\ua840-\ua8df"  # Tibetan, Burmese, Khmer, Balinese
    r"\ua900-\ua95f\ua980-\uaa7f\uaae0-\uaaff\uabc0-\uabff"  # Rejang, Javanese, Cham, Meetei Mayek
    r"\U00010a00-\U00010a5f\U00011000-\U00011fff]"  # Kharoshthi, Brahmi and its descendants
)
# Extended_Pictographic, rounded up to whole blocks; skin tones are among the last.
_EMOJI = re.compile(
    r"[\xa9\xae\u203c\u2049\u2122\u2139\u2194-\u2199\u21a9\u21aa\u2300-\u23ff\u24c2\u25a0-\u27bf\u2934\u2935"
    r"\u2b00-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff\U0001fc00-\U0001fffd]"
)

_PLAIN_NAME = re.compile(rf"(?=.{{1,{NAME_CHARS_MAX}}}\Z)[\w.'-]+(?: [\w.'-]+)*", re.ASCII)
_ALLOWED_INVISIBLE = re.compile(rf"[{_ZWNJ}{_ZWJ}\ufe0e\ufe0f]")
_LONG_RUN = re.compile(r"\W{32,}")  # every combining mark is \W

_Place = Literal["word", "emoji", "elsewhere"]


class LoneSurrogate(ValueError):  # noqa: N818 - Unicode's name for it
    """The text holds half of a UTF-16 pair, so it is invalid; the error does not hold the text."""


def clean_message(text: str) -> str:
    """Return `text` in NFC without characters unsafe for a stranger, and otherwise untouched.

    Every kind of line break (CRLF, CR, VT, FF, NEL, the line and the paragraph separator) becomes a newline. Other
    controls, bidi controls, tags, noncharacters and other invisible characters are dropped. U+FE0E and U+FE0F stay,
    and one zero-width joiner or non-joiner stays inside a word of an Indic or Arabic script, a joiner also after
    a virama at such a word's end (Malayalam spells so) and between two emoji. Canonically equivalent texts give
    the same result. The result may be empty.

    Raises:
        LoneSurrogate: the text holds a lone surrogate.
    """
    if text.isascii() and text.isprintable():
        return text
    if not (_SUSPECT.search(text) or _SUSPECT_BEYOND.search(text)):
        return _nfc(text)
    _refuse_lone_surrogates(text)
    text = _nfc(_without_forbidden(_LINE_BREAK.sub("\n", text)))
    joined = _without_stray_joiners(text)
    if joined == text:
        return text
    # Twice: removing a joiner can let a stroke meet an arrow, which then is no emoji for another joiner to hold
    # on to. After the first time, no joiner is left between a mark and a character to combine with.
    return _nfc(_without_stray_joiners(_nfc(joined)))


def clean_name(text: str) -> str:
    """Return a name of 1 to 40 characters: letters with marks, decimal digits, single spaces, `-`, `_`, `.`, `'`.

    White space of any kind becomes one space, none at the ends; other characters are dropped, as are the marks beyond
    `NONSPACING_MARKS_PER_LETTER_MAX` and `MARKS_PER_LETTER_MAX`. A longer name is cut, never between a letter and its
    marks. If nothing is left it is `ANONYMOUS`.

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


def _without_forbidden(text: str) -> str:
    return _FORBIDDEN_BEYOND.sub("", _FORBIDDEN.sub("", text))


def _nfc(text: str) -> str:
    """Return NFC in linear time: CPython's own sorting of marks is quadratic in the length of a run of them."""
    return normalize("NFC", _LONG_RUN.sub(_in_canonical_order, text))


def _in_canonical_order(run: re.Match[str]) -> str:
    decomposed = "".join(normalize("NFD", char) for char in run[0])
    stretches = groupby(decomposed, key=lambda char: combining(char) != 0)
    return "".join(char for _, stretch in stretches for char in sorted(stretch, key=combining))


def _without_stray_joiners(text: str) -> str:
    """Return `text` with only the effective joiners; of several in a row, at most the first."""
    head, *rest = _JOINERS.split(text)
    pieces = [head]
    place = _place_after(head, "elsewhere")
    for joiners, following in zip(rest[::2], rest[1::2], strict=True):
        joiner = joiners[0]
        if _joins(joiner, place, pieces[-1], following):
            pieces.append(joiner)
        pieces.append(following)
        place = _place_after(following, place)
    return "".join(pieces)


def _joins(joiner: str, place: _Place, before: str, after: str) -> bool:
    if place == "word":
        inside = after != "" and (_is_mark(after[0]) or _is_word_letter(after[0]))
        return inside or (joiner == _ZWJ and combining(before[-1]) == _VIRAMA)
    return place == "emoji" and joiner == _ZWJ and _EMOJI.match(after) is not None


def _place_after(piece: str, place: _Place) -> _Place:
    """Return the place of a joiner after `piece`; `place` is the one at the start of `piece`.

    The last character that is not a mark decides, in any order of the marks after it, so normalising them changes
    nothing. An emoji bears no mark but the selector of its style.
    """
    marked = False
    for char in reversed(piece):
        if not _is_mark(char):
            place = "word" if _is_word_letter(char) else "emoji" if _EMOJI.match(char) else "elsewhere"
            break
        marked = marked or char != _EMOJI_STYLE
    return "elsewhere" if marked and place == "emoji" else place


def _is_mark(char: str) -> bool:
    return category(char)[0] == "M"


def _is_word_letter(char: str) -> bool:
    return char.isalpha() and _WORD_BLOCKS.match(char) is not None


def _name(text: str) -> str:
    """Clean like `clean_name`, but return an empty name if nothing is left."""
    if _PLAIN_NAME.fullmatch(text):
        return text
    _refuse_lone_surrogates(text)
    visible = _ALLOWED_INVISIBLE.sub("", _without_forbidden(" ".join(text.split())))
    # Normalised again, because Hangul syllables can form where something between their parts was dropped.
    kept = _nfc("".join(_name_chars(_nfc(visible))))
    return _cut(" ".join(kept.split()))


def _name_chars(text: str) -> Iterator[str]:
    """Yield the characters of `text` allowed in a name; a mark goes with its character."""
    marks = nonspacing = 0
    on_letter = False
    for char in text:
        kind = category(char)
        if kind in {"Mn", "Mc"}:
            marks += 1
            nonspacing += kind == "Mn"
            # Once one is dropped so are the rest, or one could slip into its place and combine with the letter.
            on_letter = on_letter and marks <= MARKS_PER_LETTER_MAX and nonspacing <= NONSPACING_MARKS_PER_LETTER_MAX
            if on_letter:
                yield char
            continue
        marks = nonspacing = 0
        on_letter = kind[0] == "L"
        if on_letter or kind == "Nd" or char in " -_.'":
            yield char


def _cut(name: str) -> str:
    if len(name) <= NAME_CHARS_MAX:
        return name
    end = NAME_CHARS_MAX
    while _is_mark(name[end]):
        end -= 1
    return name[:end].rstrip(" ")
