"""Texts for regular expressions."""

import random
import re

from app.providers.simulator.patterns import sample
from tests.kit import Cases


def test_the_text_matches_its_pattern() -> None:
    table = [
        *("", "abc", "^abc$", "a|b|cd", "(a|b)c", "(?:ab)+", "a?b*c+d{2,3}e{2}", "a+?b", "((a|b)(c|d)){2}", "x{0,2}y"),
        *(
            "[a-z]{3}",
            "[^a-z]",
            r"[\d_-]+",
            r"[+\-*/]",
            r"[\s\S]",
            r"\.\/\-",
            r"\D\W\S",
            "x.y",
            r"\bword\b",
            r"\u0041\x42",
        ),
        *(r"\w+@\w+\.\w{2,}", r"(?P<year>\d{4})-(?P<month>0[1-9]|1[0-2])", r"^[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3}$"),
        *(r"^\+?[1-9]\d{6,14}$", "^#(?:[0-9a-fA-F]{3}){1,2}$", r"\$\d+(\.\d{2})?", r"^(0|[1-9]\d*)\.(0|[1-9]\d*)$"),
    ]
    with Cases() as cases:
        for pattern in table:
            for seed in range(20):
                with cases.case(pattern, seed):
                    assert re.search(pattern, sample(pattern, random.Random(seed)))


def test_no_pattern_causes_an_error() -> None:
    table: list[str] = [
        "(",
        ")",
        "[",
        "[a-",
        "\\",
        "*",
        "a{2",
        "(?",
        "(?<",
        "x{9,1}",
        "(?i)a",
        "(?=a)b",
        "\\1",
        "\\p{L}+",
    ]
    with Cases() as cases:
        for pattern in table:
            with cases.case(pattern):
                assert isinstance(sample(pattern, random.Random(1)), str)
