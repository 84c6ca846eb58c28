"""What the simulated models say is about the question, and the same every time."""

import msgspec
import pytest

from app.providers.simulator import words
from app.providers.simulator.words import answer


def asked(prompt: str, system: str | None = None, **more: bool) -> str:
    before = [{"role": "system", "content": system}] if system else []
    return answer([*before, {"role": "user", "content": prompt}], **more)


@pytest.mark.parametrize(
    ("prompt", "reply"),
    [
        ("Reply with exactly: pong", "pong"),
        ("reply with exactly: 42 and a half", "42 and a half"),
        ('Say exactly "hello there" and nothing else.', "hello there"),
        ("Answer with only the word yes.", "yes"),
        ("Reply with the single word PONG.", "PONG"),
        ("Please repeat after me: three small fish", "three small fish"),
        ("Count from 1 to 5", "1, 2, 3, 4, 5"),
        ("What is 12 * 12?", "12 * 12 = 144"),
        ("[slow] Reply with exactly: still here", "still here"),
    ],
)
def test_it_says_exactly_what_it_is_asked_to_say(prompt: str, reply: str) -> None:
    assert asked(prompt) == reply


def test_it_answers_about_the_topic_with_a_short_list() -> None:
    reply = asked("Explain how glaciers carve valleys")
    assert "glaciers carve valleys" in reply
    assert sum(line.startswith("- ") for line in reply.splitlines()) == 3
    assert "**Glaciers**" in reply


def test_it_gives_as_many_points_as_were_asked_for() -> None:
    assert sum(line.startswith("- ") for line in asked("Give me five ideas for a garden").splitlines()) == 5


@pytest.mark.parametrize(
    ("prompt", "fence"),
    [
        ("Write a Python function that sorts pears", "```python\ndef "),
        ("Show me javascript code for a timer", "```js\nfunction "),
        ("Write an SQL query for orders", "```sql\nselect"),
    ],
)
def test_it_writes_code_when_asked_for_code(prompt: str, fence: str) -> None:
    assert fence in asked(prompt)


def test_it_writes_json_and_nothing_else_when_the_format_is_json() -> None:
    reply = msgspec.json.decode(asked("Describe two rivers", json=True))
    assert reply["items"]


def test_it_is_brief_and_stays_in_its_role_when_the_system_prompt_says_so() -> None:
    reply = asked("Tell me about tea", system="You are a pirate. Be brief.")
    assert reply.startswith("As a pirate")
    assert "\n" not in reply


def test_it_gives_a_title_when_asked_for_one() -> None:
    assert len(asked("Write a title for this conversation about baking sourdough bread").split()) <= 4


def test_it_says_the_same_again_and_something_else_to_somebody_else() -> None:
    assert asked("Tell me about tides") == asked("Tell me about tides")
    assert asked("Tell me about tides") != asked("Tell me about winds")


def test_it_reads_only_the_words_of_a_message_in_parts() -> None:
    parts = [{"type": "text", "text": "Reply with exactly: seen"}, {"type": "image_url", "image_url": {"url": "x"}}]
    assert answer([{"role": "user", "content": parts}]) == "seen"


@pytest.mark.parametrize(
    "prompt", ["", " ", "?", "\n\n", "日本の山", "🦊", "a" * 50_000, "say: ", 'say exactly "', "[fail]"]
)
def test_it_always_finds_something_to_say(prompt: str) -> None:
    assert asked(prompt)
    assert words.describe(prompt)


def test_the_pieces_of_a_text_are_the_text() -> None:
    text = asked("Write a Python function about islands\nand explain it")
    assert "".join(words.split(text)) == text
