"""Names and titles on one line."""

from app.base.text import folded, one_line, shortened
from tests.kit import Cases


def test_what_is_not_seen_is_removed_and_what_scripts_need_stays() -> None:
    cases_ = {
        " Ann \t\n Kern ": "Ann Kern",
        "Ann\u202e nreK\u2066": "Ann nreK",
        "A\x00nn\x07\x1b[2J": "Ann[2J",
        "\u200eAnn\u061c\ufeff": "Ann",
        "نامه\u200cای": "نامه\u200cای",
        "👩\u200d🚀": "👩\u200d🚀",
        "\ud83d half": "half",
    }
    with Cases() as cases:
        for text, expected in cases_.items():
            with cases.case(ascii(text)):
                assert one_line(text) == expected


def test_a_text_is_cut_between_words_or_else_between_what_readers_take_for_characters() -> None:
    family = "👩\u200d👩\u200d👧\u200d👦"  # seven code points
    cases_ = {
        ("short", 10): "short",
        ("one two three", 9): "one two…",
        ("onetwothree", 6): "onetwo…",
        (family * 3, 10): f"{family}…",
        ("e\u0301" * 6, 5): "e\u0301" * 2 + "…",
        ("🇩🇪🇫🇷", 3): "🇩🇪…",
    }
    with Cases() as cases:
        for (text, length), expected in cases_.items():
            with cases.case(ascii(text)):
                assert shortened(text, length) == expected


def test_a_word_is_found_in_every_letter_case_of_its_own_spelling() -> None:
    pairs = [
        ("İSTANBUL", "istanbul"),
        ("ısparta", "ISPARTA"),
        ("οδός", "ΟΔΌΣ"),
        ("ΟΔΟΣ", "οδος"),
        ("Straße", "STRASSE"),
        ("cafe\u0301", "CAFÉ"),
        ("ﬁlm", "FILM"),
        ("Åland", "A\u030aLAND"),
    ]
    with Cases() as cases:
        for one, other in pairs:
            with cases.case(ascii((one, other))):
                assert folded(one) == folded(other)
