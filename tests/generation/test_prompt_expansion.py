"""Choices and wildcards in prompts."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.generation.prompt_expansion import MAX_COUNT, MAX_LENGTH, ExpansionError, count, expand, variants
from tests.kit import IMAGE_MODEL, MULTI_IMAGE_MODEL, TEXT_MODEL, Cases, generated_image, validation_error

WILDCARDS = {
    "color": ["red", "{light|dark} blue"],
    "boat": ["__color__ boat"],
    "empty": [],
    "itself": ["fine", "not __itself__"],
    "ping": ["__pong__"],
    "pong": ["__ping__"],
    **{f"level-{number}": [f"__level-{number + 1}__"] for number in range(20)},
    "level-20": ["deep"],
    "long": ["x" * 20_000],
}


def test_choices_and_wildcards_have_these_variants() -> None:
    expected = {
        "a {red|green} boat": ["a red boat", "a green boat"],
        "{a|b}{1|2}": ["a1", "a2", "b1", "b2"],
        "a {red|{light|dark} blue|} hat": ["a red hat", "a light blue hat", "a dark blue hat", "a  hat"],
        "__color__!": ["red!", "light blue!", "dark blue!"],
        "{one|__boat__}": ["one", "red boat", "light blue boat", "dark blue boat"],
        # everything else is text
        "no choice": ["no choice"],
        '{"scene": {"boats": [1, 2]}, "mood": "calm"}': ['{"scene": {"boats": [1, 2]}, "mood": "calm"}'],
        '{"color": "{red|blue}"}': ['{"color": "red"}', '{"color": "blue"}'],
        "a | b": ["a | b"],
        "{": ["{"],
        "}{": ["}{"],
        "{a|b": ["{a|b"],
        "{ {a|b}": ["{ a", "{ b"],
        "____ and __ and __a": ["____ and __ and __a"],
        # unless a backslash says so
        r"\{a|b\}": ["{a|b}"],
        r"{a\|b|c}": ["a|b", "c"],
        r"\__color__": ["__color__"],
        r"\\{a|b}": ["\\a", "\\b"],
        r"C:\new\files": [r"C:\new\files"],
    }
    with Cases() as cases:
        for template, texts in expected.items():
            with cases.case(template):
                assert list(variants(template, WILDCARDS)) == texts
                assert count(template, WILDCARDS) == len(texts)


templates = st.recursive(
    st.sampled_from(["", "red", "{", "|", "}", "\\", "__color__", "__boat__", " "]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(lambda options: "{" + "|".join(options) + "}"),
        st.lists(inner, max_size=2).map("".join),
    ),
    max_leaves=8,
)


@given(templates, st.integers(0, 2**64))
def test_the_same_seed_gives_the_same_variant(template: str, seed: int) -> None:
    text = expand(template, WILDCARDS, seed)
    assert text == expand(template, WILDCARDS, seed)
    assert text in set(variants(template, WILDCARDS))
    assert count(template, WILDCARDS) == len(list(variants(template, WILDCARDS)))


def test_every_variant_is_reached_by_some_seed() -> None:
    template = "{a|b{1|2|3}|__color__} {|x}"
    assert {expand(template, WILDCARDS, seed) for seed in range(500)} == set(variants(template, WILDCARDS))


def test_what_cannot_be_expanded_is_one_clear_error_whatever_the_seed() -> None:
    wrong = {
        "a __missing__ boat": "There is no wildcard __missing__.",
        "{a|__missing__}": "There is no wildcard __missing__.",
        "__empty__": "The wildcard __empty__ has no lines.",
        "__itself__": "The wildcard __itself__ contains itself.",
        "__ping__": "The wildcard __ping__ contains itself.",
        "__level-0__": "nested at most 16 levels",
        "__level-12__ __level-0__": "nested at most 16 levels",
        "{a|" * 17 + "}" * 17: "nested at most 16 levels",
        "__long__ __long__": "at most 32,000 characters",
        "{|}" * (MAX_LENGTH + 1): "at most 32,000 characters",
    }
    with Cases() as cases:
        for template, message in wrong.items():
            for seed in range(3):
                with cases.case(template, seed), pytest.raises(ExpansionError, match=message):
                    expand(template, WILDCARDS, seed)


def test_billions_of_variants_are_counted_not_built() -> None:
    assert count("{a|b}" * 5_000, {}) == MAX_COUNT
    assert len(expand("{a|b}" * 5_000, {}, 1)) == 5_000


async def test_a_request_is_stored_with_the_variant_that_its_seed_chooses(creator: httpx.AsyncClient) -> None:
    template = "[stamp] a {red|green|blue|white} {boat|house}"
    prompts = [
        (await generated_image(creator, template, model=MULTI_IMAGE_MODEL, seed=seed))["prompt"] for seed in (1, 1, 2)
    ]
    assert prompts == [expand(template, {}, seed) for seed in (1, 1, 2)]
    assert (await generated_image(creator, template))["prompt"] in set(variants(template, {}))
    text = await creator.post("/api/v1/generate/text", json={"model": TEXT_MODEL, "prompt": template})
    job = await creator.get(f"/api/v1/jobs/{text.json()['id']}")
    assert job.json()["prompt"] == template
    for wrong in ("__missing__", "{ | }"):
        answer = await creator.post("/api/v1/generate/image", json={"model": IMAGE_MODEL, "prompt": wrong})
        validation_error(answer, "prompt")
