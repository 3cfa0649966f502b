"""Text of strangers comes out clean: messages, names and interests."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mcp_facade.tools.marks import nfc
from mcp_facade.tools.sanitise import LoneSurrogate, clean_interests, clean_message, clean_name
from tests.support.examples import scaled

ZWNJ, ZWJ, VS16 = "\u200c", "\u200d", "\ufe0f"

# DerivedCoreProperties.txt, Default_Ignorable_Code_Point: written down again, so that a slip in the module shows.
INVISIBLE = [
    *(0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFEFF, 0xFFA0),
    *(*range(0x180B, 0x1810), *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070)),
    *(*range(0xFE00, 0xFE10), *range(0xFFF0, 0xFFF9), *range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B)),
    *range(0xE0000, 0xE1000),
]
CONTROLS = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, 0xFFF9, 0xFFFA, 0xFFFB]
NONCHARACTERS = [*range(0xFDD0, 0xFDF0), *(p << 16 | last for p in range(17) for last in (0xFFFE, 0xFFFF))]
BLANKS = [0x16FE4, 0x1BC9D, *range(0x1DA9B, 0x1DAA0), *range(0x1DAA1, 0x1DAB0)]
BLANKS += [0x2D7F, 0x1107F, 0x11A47, 0x11A99, *range(0x13430, 0x13443), *range(0x13447, 0x13456)]
FORBIDDEN = {chr(c) for c in INVISIBLE + CONTROLS + NONCHARACTERS + BLANKS + [0xFFFC, 0x1D159]} - {*"\n\t"}
SPACES = {*map(chr, [0xA0, *range(0x2000, 0x200B), 0x202F, 0x205F])}  # become plain ones between letters
CHARACTERS = sorted({chr(c) for c in range(0x30000) if not 0xD800 <= c < 0xE000} | FORBIDDEN)

# Those of them with a place in real spelling; test_sanitise_languages has the places.
SPELLING = {*"\u034f\u115f\u1160\u180b\u180c\u180d\u180e\u180f\u200b\u200c\u200d\ufe00\ufe01\ufe02\ufe0e\ufe0f"}
SPELLING |= {*map(chr, [*BLANKS, *range(0xE0061, 0xE0080), *range(0xE0100, 0xE01F0)])}

# Characters of several rules: joiners, marks that reorder or compose, emoji changed by a mark.
AWKWARD = (
    f"a1 \n\r\t\x1b\x85\u200b\u202e\u034f{ZWNJ}{ZWJ}{VS16}\ufe0e\u20e3\U000e0067\u2028"
    "e\u0301\u0316\u0327\u0345\u0338\u212b\u2194\u2764\U0001f468\U0001f469\U0001f3fd"  # Latin, arrow, heart, people
    "\u0627\u0653\u0655\u06cc\u062e\u064e"  # Arabic
    "\u0915\u093c\u094d\u0937\u0958\u09b0\u09cd\u09c7\u09be\u0d28\u0d4d\u0f73\u0f40"  # Indic, Tibetan
    "\u1100\u1161\u11a8\u1160\u3164"  # Hangul
    "-_.'*\u2019\u2605ßİŉſ\u0390\u1e9e"
)
texts = st.text() | st.text(st.sampled_from(AWKWARD))
thorough = settings(max_examples=scaled(500), deadline=None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Hello, stranger! How are you? {}[]<>\\\"'`~",
        "  two\nlines and\ta tab\n",
        "Grüße, здравствуй, 你好, こんにちは, 안녕, สวัสดี, \ue000",
        "👍🏽 ❤️ ☎︎ 🇫🇷 1️⃣",
    ],
)
def test_ordinary_text_is_untouched(text: str) -> None:
    """Ordinary text in any language arrives as it was typed."""
    assert clean_message(text) == text


@pytest.mark.parametrize("line_break", ["\r\n", "\r", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"])
def test_every_line_break_becomes_a_newline(line_break: str) -> None:
    """Any typed line break becomes one newline."""
    assert clean_message(f"a{line_break}b{line_break}{line_break}") == "a\nb\n\n"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a\x00b\x07c\x7fd", "abcd"),
        ("\x1b[31mred\x9b0m", "[31mred0m"),
        ("\u202eevil\u202c\u2066a\u2067b\u2068c\u2069", "evilabc"),
        ("a\u200bb", "ab"),
        ("a\u034fb\u3164c\u115fd\u1160e\uffa0f", "abcdef"),
        ("a\ufe00b\ufe0dc\U000e0100d\U000e01efe", "abcde"),
        ("🏴\U000e0075\U000e0073\U000e0063\U000e0061\U000e007f", "🏴"),
        ("\ufff9漢\ufffaかん\ufffb", "漢かん"),
        ("a\ufdd0b\uffffc\U0010fffed", "abcd"),
    ],
)
def test_what_hides_or_controls_is_dropped(text: str, clean: str) -> None:
    """Controls, direction, tags, selectors and invisible characters go; the text between them stays."""
    assert clean_message(text) == clean


def test_of_all_characters_only_the_forbidden_go() -> None:
    """Each character of Unicode, between two letters, is forbidden, an odd space or still there."""
    changed = FORBIDDEN | SPACES
    allowed = "".join("x" + char for char in CHARACTERS if char not in changed)
    clean = clean_message("".join("x" + char for char in CHARACTERS))
    assert set(clean) == set(unicodedata.normalize("NFC", allowed))


@pytest.mark.parametrize("clean", [clean_message, clean_name, lambda text: clean_interests([text])])
@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\ud83d\ude00", "é\n\udc80"])
def test_a_lone_surrogate_is_refused_without_being_repeated(clean: Callable[[str], object], text: str) -> None:
    """Half a UTF-16 pair is an error, and the error repeats nothing of the text."""
    with pytest.raises(ValueError, match="lone surrogate") as refusal:
        clean(text)
    assert type(refusal.value) is LoneSurrogate
    assert text not in str(refusal.value)
    assert refusal.value.__context__ is None


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("e\u0301 \u212b", "\u00e9 \u00c5"),
        ("e\u200b\u0301", "\u00e9"),
        (f"e{ZWJ}\u0301", "\u00e9"),
        ("a\u034f\u0301\u0316", "\u00e1\u0316"),
        ("\u1100\u1160\u1161", "\uac00"),
    ],
)
def test_a_message_is_nfc_even_where_something_was_dropped(text: str, clean: str) -> None:
    """Characters that meet after a removal are composed."""
    assert clean_message(text) == clean


@pytest.mark.parametrize(
    "text",
    [
        *("👨‍👩‍👧‍👦", "👩🏽‍🚀", "❤️‍🔥", "🏳️‍🌈", "🙂‍↔️", "🧑🏻‍❤️‍💋‍🧑🏿"),
        *("می‌خواهم", "ܐ‌ܒ", "क्‍ष", "क्‌ष", "ශ්‍රී ලංකාව", "র‍্যাম", "ನಿರ‍್ವಹಣೆ", "അവന്‍ വന്നു"),
    ],
)
def test_joiners_that_spell_something_stay(text: str) -> None:
    """Emoji and words, among them Persian, Hindi, Bengali and Malayalam, keep the joiners of their spelling."""
    assert ZWJ in text or ZWNJ in text
    assert clean_message(text) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"{ZWJ}a{ZWJ}b{ZWNJ}c{ZWNJ}", "abc"),
        (f"👨{ZWNJ}👩", "👨👩"),
        (f"{ZWJ}👨{ZWJ}", "👨"),
        (f"a{ZWJ}👨{ZWJ}a", "a👨a"),
        (f"👨{ZWJ}{ZWJ}{ZWNJ}👩", f"👨{ZWJ}👩"),
        (f"👨\u0301{ZWJ}👩", "👨\u0301👩"),
        (f"ی{ZWNJ}{ZWNJ}خ", f"ی{ZWNJ}خ"),
        (f"ی{ZWNJ} خ{ZWNJ}", "ی خ"),
        (f"ی{ZWNJ}a", "یa"),
        (f"क{ZWJ}। {ZWNJ}क{ZWNJ}।", "क। क।"),
        (f"ا{ZWJ}\U000e0061{ZWJ}", "ا"),
    ],
)
def test_joiners_that_spell_nothing_go(text: str, clean: str) -> None:
    """Outside words and emoji, at their edges and in rows a joiner could only hide something."""
    assert clean_message(text) == clean


def test_a_joiner_goes_with_the_emoji_that_it_held_on_to() -> None:
    """A stroke moved onto an arrow makes it no emoji, and then nothing is joined to it."""
    assert clean_message(f"🙂{ZWJ}↔{ZWJ}\u0338") == "🙂↮"


@given(st.text(st.characters(max_codepoint=0x7E, exclude_categories=["Cc"], include_characters="\n\t")))
@settings(deadline=None)
def test_ascii_without_controls_is_untouched(text: str) -> None:
    """Plain text, code and markup in ASCII are never altered."""
    assert clean_message(text) == text


@given(texts)
@thorough
@example(f"↔{ZWJ}↔{ZWJ}\u0338")
@example(f"ا{ZWJ}\u0653{ZWJ}\u0316")
@example(f"ا\u0301{ZWJ}\u0655{ZWJ}خ")
@example(f"a{ZWJ}\u0655{ZWJ}خ")
def test_cleaning_a_message_is_idempotent_and_blind_to_composition(text: str) -> None:
    """A cleaned text is cleaned to itself, and its composition on the keyboard does not matter."""
    clean = clean_message(text)
    assert clean_message(clean) == clean
    assert clean_message(unicodedata.normalize("NFD", text)) == clean


@given(texts)
@thorough
def test_a_clean_message_is_nfc_and_holds_nothing_forbidden(text: str) -> None:
    """Any result is normalised, and shows all of its contents."""
    clean = clean_message(text)
    assert unicodedata.is_normalized("NFC", clean)
    assert set(clean) & (FORBIDDEN - SPELLING) == set()
    for before, joiner, after in zip(" " + clean, clean, clean[1:] + " ", strict=False):
        if joiner in (ZWNJ, ZWJ):
            assert not before.isascii() or (joiner == ZWNJ and before.isalnum() and "\u0620" <= after <= "\u06ff")
            assert after not in (ZWNJ, ZWJ)


@pytest.mark.parametrize("clean", [clean_message, clean_name])
@pytest.mark.parametrize("unit", ["\u0301\u0316", "\u0f73", f"क{ZWJ}", f"👨{ZWJ}{VS16}", f"{ZWJ}\u0301"], ids=ascii)
def test_long_texts_are_cleaned_in_linear_time(clean: Callable[[str], str], unit: str) -> None:
    """A quadratic cleaner, or CPython's own NFC for the first two, would take ten seconds and more."""
    assert clean("q" + unit * 50_000).startswith("q")


def test_a_long_run_of_marks_is_normalised_like_a_short_one() -> None:
    """The way around Python's slow sort gives the same result."""
    text = "e" + "\u0301\u0316\u0327\u0344" * 20 + "!" * 40 + "\u0f73\u0f74" * 20
    assert nfc(text) == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Ann-Marie O'Neil_Jr. 3", "Ann-Marie O'Neil_Jr. 3"),
        ("  Ann \t\r\n Lee\u00a0 ", "Ann Lee"),
        ("a\u2028b\x85c\x0bd", "a b c d"),
        ("Zoe\u0308", "Zoë"),
        ("हिन्दी ရွှေ့လျှို့", "हिन्दी ရွှေ့လျှို့"),
        ("לְשׁוֹן", unicodedata.normalize("NFC", "לְשׁוֹן")),
        ("٣ ४ ½²Ⅷ5", "٣ ४ 5"),
        ("<b>李雷</b> ★ Bob 👩🏽‍🚀", "b李雷b Bob"),
        ("A\u20dd\u0301b", "Ab"),
        ("\u0301a \u0301b", "a b"),
        ("★\u0301a1\u0301", "a1"),
        ("\u1100★\u1161", "\uac00"),
        ("a\u200b\u202eb\ufe0f\u3164c", "abc"),
        (f"می{ZWNJ}خواهم{ZWNJ}", f"می{ZWNJ}خواهم"),
        (f"क्{ZWJ}ष a{ZWJ}b", f"क्{ZWJ}ष ab"),
        ("\x1b[31mAnn", "31mAnn"),
    ],
)
def test_a_name_keeps_letters_digits_and_little_else(text: str, clean: str) -> None:
    """Letters of every script with their marks, digits, single spaces and a few signs stay; the rest is dropped."""
    assert clean_name(text) == clean


@pytest.mark.parametrize("text", ["", " \n\u3000", "👻", "\u200b\u3164", "\u0301\u0302", "!?<>"])
def test_a_name_of_nothing_is_anonymous(text: str) -> None:
    """A person without a usable name is called so."""
    assert clean_name(text) == "Anonymous"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("x" * 41, "x" * 40),
        ("x" * 39 + " y", "x" * 39),
        ("★" * 100 + "x" * 40, "x" * 40),
        ("x" * 39 + "q\u0303", "x" * 39),
        ("x" * 38 + "q\u0303\u0316", "x" * 38),
        ("x" * 39 + "e\u0301z", "x" * 39 + "é"),
    ],
)
def test_a_long_name_is_cut_between_letters(text: str, clean: str) -> None:
    """The cut never takes a mark from its letter and leaves no space at the end."""
    assert clean_name(text) == clean


def test_marks_cannot_be_piled_up_in_a_name() -> None:
    """Beyond a few, marks on one letter are dropped, and the letters after it are not."""
    assert clean_name("q" + "\u0303" * 50 + "z") == "q" + "\u0303" * 4 + "z"
    assert clean_name("क" + "\u093e" * 50 + "z") == "क" + "\u093e" * 6 + "z"


@given(texts)
@thorough
@example("x" * 38 + "q\u0303\u0316")
@example("\u1100★\u1161\u0301\u0302")
def test_a_clean_name_is_short_nfc_and_of_allowed_characters(text: str) -> None:
    """Any result is a name by the contract, and cleaning it again changes nothing."""
    name = clean_name(text)
    assert clean_name(name) == name
    assert 1 <= len(name) <= 40
    assert unicodedata.is_normalized("NFC", name)
    assert " ".join(name.split()) == name
    signs = {*" -_.'\u2019+#&/\xb7\u058a\u05f3\u05f4\u0f0b\u2010\u2027\u30a0\u30fb"}
    kinds = [unicodedata.category(char) for char in name if char not in signs | SPELLING]
    assert {*kinds} <= {"Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd"}
    assert set(name) & (FORBIDDEN - SPELLING | {VS16, "\ufe0e", "\u200b"}) == set()
    assert unicodedata.category(name[0])[0] != "M"


@pytest.mark.parametrize(
    ("items", "clean"),
    [
        ([], ()),
        (["Music", "Go", "MUSIC", "art", " music\n"], ("art", "go", "music")),
        (["", "★", "chess"], ("chess",)),
        (["Straße", "STRASSE"], ("strasse",)),
        (["Café", "CAFE\u0301"], ("café",)),
        (["\u1e9e" * 40], ("s" * 40,)),
        ([f"{n:02}" for n in range(20, 0, -1)], tuple(f"{n:02}" for n in range(1, 21))),
    ],
)
def test_interests_are_cleaned_folded_sorted_and_unique(items: list[str], clean: tuple[str, ...]) -> None:
    """Equal meanings become equal words; the empty is dropped, and none is cut off."""
    assert clean_interests(items) == clean


@given(st.lists(texts, max_size=10))
@thorough
def test_cleaning_clean_interests_changes_nothing(items: list[str]) -> None:
    """Cleaning is idempotent, and each of the results is a clean name."""
    clean = clean_interests(items)
    assert clean_interests(clean) == clean
    assert all(clean_name(item) == item for item in clean)


def test_no_letter_needs_folding_twice() -> None:
    """A letter that folds to several letters, or to a letter and marks, is a clean interest at once."""
    once = clean_interests([char for char in CHARACTERS if char != char.casefold()])
    assert clean_interests(once) == once
