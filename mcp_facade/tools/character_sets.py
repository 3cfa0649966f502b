"""Sets of characters that the rules about invisible ones need.

Letters are taken by block and by their category in the running Python's Unicode tables, so they grow with those.

Sources: Unicode's Default_Ignorable_Code_Point, StandardizedVariants.txt, emoji-variation-sequences.txt,
ArabicShaping.txt, and the Unicode Standard's chapters on the scripts.
"""

from __future__ import annotations

from collections.abc import Iterator
from unicodedata import category, combining

Characters = frozenset[str]

_VIRAMA = 9  # Canonical_Combining_Class


def _in(blocks: str) -> Iterator[str]:
    """Yield the characters of `blocks`, which are code points and ranges in hexadecimal."""
    for block in blocks.split():
        first, _, last = block.partition("-")
        yield from map(chr, range(int(first, 16), int(last or first, 16) + 1))


def _letters_in(blocks: str) -> Iterator[str]:
    """Yield the letters and marks of `blocks`."""
    return (char for char in _in(blocks) if category(char)[0] in "LM")


def for_class(characters: Characters) -> str:
    """Return `characters` as the inside of a regular expression's brackets."""
    runs: list[list[int]] = []
    for code in sorted(map(ord, characters)):
        if runs and code == runs[-1][1] + 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    return "".join(rf"\U{first:08x}-\U{last:08x}" for first, last in runs)


INVISIBLE = frozenset(
    _in(
        "0-8 b-1f 7f-9f"  # C0 with ESC, DEL, C1 with CSI; tab and newline stay
        " ad 34f 61c"  # soft hyphen, grapheme joiner, Arabic letter mark
        " 115f 1160 3164 ffa0"  # Hangul fillers
        " 17b4 17b5 180b-180f"  # Khmer's inherent vowels, Mongolian selectors and vowel separator
        " 200b-200f"  # zero-width space, joiners, direction marks
        " 2028-202e"  # line and paragraph separator, bidi embeddings and overrides
        " 2060-206f"  # word joiner, invisible operators, bidi isolates, deprecated format characters
        " fe00-fe0f feff"  # variation selectors, byte order mark
        " fff0-fffb"  # unassigned but ignorable, interlinear annotation
        " fffc 1d159"  # an object's place, a null notehead
        " 13430-13442 13447-13455"  # Egyptian joiners, brackets, blanks, and what turns or damages a sign
        " 2d7f 1107f 11a47 11a99 16fe4"  # joiners of Tifinagh, Brahmi, Zanabazar and Soyombo, Khitan filler
        " 1bc9d 1da9b-1da9f 1daa1-1daaf"  # what changes a sign of shorthand or of SignWriting
        " 1bca0-1bca3 1d173-1d17a"  # shorthand's and music's format characters
        " e0000-e0fff"  # tags, supplementary variation selectors
        " fdd0-fdef" + "".join(f" {plane:x}fffe {plane:x}ffff" for plane in range(17))  # noncharacters
    )
)
"""Not to be seen: default ignorable, control, noncharacter, or without a glyph of their own."""
ODD_SPACES = frozenset(_in("a0 1680 2000-200a 202f 205f 2800 3000"))
BLANK = INVISIBLE | ODD_SPACES | {*"\t\n "}
"""Not to be seen, or spaces: Braille's too."""
MARKS = frozenset(
    char
    for char in _letters_in("300-1dff 20d0-20f0 2cef-2dff 302a-302f 3099-309a a66f-abed fb1e fe00-fe2f")
    if category(char)[0] == "M"
)
"""The combining marks below U+10000."""

# In emoji-variation-sequences.txt, apart from digits, # and *.
STYLED = frozenset(
    _in(
        "a9 ae 203c 2049 2122 2139 2194-2199 21a9 21aa 231a 231b 2328 23cf 23e9-23f3 23f8-23fa 24c2 25aa 25ab "
        "25b6 25c0 25fb-25fe 2600-2604 260e 2611 2614 2615 2618 261d 2620 2622 2623 2626 262a 262e 262f 2638-263a "
        "2640 2642 2648-2653 265f 2660 2663 2665 2666 2668 267b 267e 267f 2692-2697 2699 269b 269c 26a0 26a1 26a7 "
        "26aa 26ab 26b0 26b1 26bd 26be 26c4 26c5 26c8 26ce 26cf 26d1 26d3 26d4 26e9 26ea 26f0-26f5 26f7-26fa 26fd "
        "2702 2705 2708-270d 270f 2712 2714 2716 271d 2721 2728 2733 2734 2744 2747 274c 274e 2753-2755 2757 2763 "
        "2764 2795-2797 27a1 27b0 27bf 2934 2935 2b05-2b07 2b1b 2b1c 2b50 2b55 3030 303d 3297 3299 1f004 1f170 "
        "1f171 1f17e 1f17f 1f202 1f21a 1f22f 1f237 1f30d-1f30f 1f315 1f31c 1f321 1f324-1f32c 1f336 1f378 1f37d "
        "1f393 1f396 1f397 1f399-1f39b 1f39e 1f39f 1f3a7 1f3ac-1f3ae 1f3c2 1f3c4 1f3c6 1f3ca-1f3ce 1f3d4-1f3e0 "
        "1f3ed 1f3f3 1f3f5 1f3f7 1f408 1f415 1f41f 1f426 1f43f 1f441 1f442 1f446-1f449 1f44d 1f44e 1f453 1f46a "
        "1f47d 1f4a3 1f4b0 1f4b3 1f4bb 1f4bf 1f4cb 1f4da 1f4df 1f4e4-1f4e6 1f4ea-1f4ed 1f4f7 1f4f9-1f4fb 1f4fd "
        "1f508 1f50d 1f512 1f513 1f549 1f54a 1f550-1f567 1f56f 1f570 1f573-1f579 1f587 1f58a-1f58d 1f590 1f5a5 "
        "1f5a8 1f5b1 1f5b2 1f5bc 1f5c2-1f5c4 1f5d1-1f5d3 1f5dc-1f5de 1f5e1 1f5e3 1f5e8 1f5ef 1f5f3 1f5fa 1f610 "
        "1f687 1f68d 1f691 1f694 1f698 1f6ad 1f6b2 1f6b9 1f6ba 1f6bc 1f6cb 1f6cd-1f6cf 1f6e0-1f6e5 1f6e9 1f6f0 "
        "1f6f3"
    )
)
# In emoji-zwj-sequences.txt before a joiner, but for skin tones, and after one; and the cats and dragons of Windows.
JOINING = frozenset(
    _in(
        "2640 2642 26d3 26f9 2764 1f344 1f34b 1f3c3-1f3c4 1f3ca-1f3cc 1f3f3-1f3f4 1f408 1f415 1f426 1f430-1f431 1f43b"
        " 1f441 1f466-1f469 1f46e-1f471 1f473 1f477 1f481-1f482 1f486-1f487 1f48b 1f575 1f62e 1f635-1f636 1f642"
        " 1f645-1f647 1f64b 1f64d-1f64e 1f6a3 1f6b4-1f6b6 1f91d 1f926 1f935 1f937-1f939 1f93c-1f93e 1f9af 1f9b8-1f9b9"
        " 1f9bc-1f9bd 1f9cd-1f9cf 1f9d1-1f9d2 1f9d4 1f9d6-1f9df 1faef 1faf1"
    )
)
JOINED = frozenset(
    _in(
        "2194-2195 2620 2640 2642 2695-2696 26a7 2708 2744 2764 27a1 2b1b 1f308 1f32b 1f33e 1f373 1f37c 1f384 1f393"
        " 1f3a4 1f3a8 1f3cd 1f3eb 1f3ed 1f409 1f430 1f453 1f464 1f466-1f469 1f48b 1f4a5 1f4a8 1f4ab 1f4bb-1f4bc 1f525"
        " 1f527 1f52c 1f5e8 1f680 1f692 1f7e9 1f7eb 1f91d 1f9af-1f9b3 1f9ba 1f9bc-1f9bd 1f9d1-1f9d2 1fa70 1fa79 1faef"
        " 1faf2"
    )
)
SKIN_TONES = frozenset(_in("1f3fb-1f3ff"))

# With a variant by U+FE00: operators, Burmese and Phags-pa letters; by U+FE01 too: punctuation between ideographs.
VARIED = frozenset(
    _in(
        "2229 222a 2268 2269 2272 2273 228a 228b 2293-2295 2297 229c 22da 22db 2a3c 2a3d 2a9d 2a9e 2aac 2aad 2acb 2acc"
        " 1000 1002 1004 1010 1011 1015 1019-101a 101c 101d 1022 1031 1075 1078 107a 1080"
        " aa60-aa66 aa6b aa6c aa6f aa7a a856 a85c a85e-a860 a868"
    )
)
PLACED = frozenset(_in("3001 3002 ff01 ff0c ff0e ff1a ff1b ff1f"))

HEBREW_LETTERS = frozenset(_in("5d0-5ea 5ef-5f2"))
HEBREW_MARKS = frozenset(_in("591-5bd 5bf 5c1 5c2 5c4 5c5 5c7"))
LEADING_JAMO = frozenset(_in("1100-115e a960-a97c"))
VOWEL_JAMO = frozenset(_in("1161-11a7 d7b0-d7c6"))
TRAILING_JAMO = frozenset(_in("11a8-11ff d7cb-d7fb"))
MONGOLIAN_LETTERS = frozenset(_in("1820-1878 1880-18aa"))
MONGOLIAN_SELECTORS = frozenset(_in("180b-180d 180f"))

# Arabic, Syriac, N'Ko, Mandaic, Phags-pa, Manichaean, Psalter Pahlavi, Rohingya, Sogdian, Adlam, Mongolian.
CURSIVE = (
    frozenset(
        _letters_in(
            "610-6ff 710-77f 7ca-7f5 840-8ff a840-a873 10ac0-10ae6 10b80-10b91 10d00-10d27 10ec0-10eff 10f30-10f54"
            " 1e900-1e94b"
        )
    )
    | MONGOLIAN_LETTERS
    | MONGOLIAN_SELECTORS
)
ARABIC = frozenset(_letters_in("610-6ff 750-77f 870-8ff"))
# Those that join on both sides, of living scripts.
DUAL_JOINING = MONGOLIAN_LETTERS.union(
    _in("620 626 628 62a-62e 633-63f 641-647 649 64a 66e 66f 678-687 69a-6bf 6c1 6c2 6cc 6ce 6d0 6d1 6fa-6fc 6ff"),
    _in("712-714 71a-71d 71f-727 729 72b 72d 72e 750-758 75c-76a 76d-770 772 775-777 77a-77f 7ca-7ea"),
)
# Devanagari to Sinhala, and Brahmi's other descendants.
BRAHMIC = frozenset(
    _letters_in(
        "900-dff f40-fbc 1000-109f 1700-17b3 17b6-17d3 1900-1c4f 1cd0-1cff a800-a82f a880-a95f a980-aa7f aae0-aaff"
        " abc0-abff 10a00-10a5f 11000-11fff"
    )
)
VIRAMAS = frozenset(char for char in BRAHMIC if combining(char) == _VIRAMA)
KHMER = frozenset(_in("1780-17b3 17b6-17d3"))
KHMER_VOWELS = frozenset(_in("17b6-17ca"))  # and register shifters
# Without spaces between words: Thai, Lao, Burmese, Khmer, Tai Le, New Tai Lue, Tai Tham, Balinese, Javanese, Tai Viet.
UNSPACED = frozenset(
    _letters_in("e00-eff 1000-109f 1780-17b3 17b6-17dd 1950-19df 1a20-1a7f 1b00-1b4f a980-a9ff aa60-aadf 11700-1172b")
)

DUPLOYAN = frozenset(_in("1bc00-1bc99"))
KHITAN = frozenset(_in("18b00-18cff"))
SIGNWRITING = frozenset(_in("1d800-1da8b"))
SIGNWRITING_FILLS = frozenset(_in("1da9b-1da9f"))
SIGNWRITING_ROTATIONS = frozenset(_in("1daa1-1daaf"))
TIFINAGH = frozenset(_in("2d30-2d67"))
BRAHMI_NUMBERS = frozenset(_in("11052-11065"))
ZANABAZAR_CONSONANTS = frozenset(_in("11a0b-11a32"))
SOYOMBO_CONSONANTS = frozenset(_in("11a5c-11a83"))

EGYPTIAN_SIGNS = frozenset(_in("13000-1342f 13443-13446 13460-143fa"))  # the lost ones are hatched, so visible
EGYPTIAN_BLANKS = frozenset(_in("13441 13442"))
EGYPTIAN_JOINERS = frozenset(_in("13430-13436 13439-1343b"))  # one sign over, beside or in another
EGYPTIAN_BEGINS = frozenset(_in("13437 1343c 1343e"))  # of a group, a cartouche
EGYPTIAN_ENDS = frozenset(_in("13438 1343d 1343f"))
EGYPTIAN_MODIFIERS = frozenset(_in("13440 13447-13455"))  # turned around, or damaged


def is_ideograph(char: str) -> bool:
    """Return whether `char` is a Han ideograph; "" is none."""
    return (
        "\u3400" <= char <= "\u4dbf"
        or "\u4e00" <= char <= "\u9fff"
        or "\uf900" <= char <= "\ufaff"
        or "\U00020000" <= char <= "\U0003fffd"
    )
