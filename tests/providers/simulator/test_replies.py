"""Text replies of the simulated models: they fit the prompt and are deterministic."""

import msgspec

from app.providers.simulator import replies
from app.providers.simulator.replies import answer
from tests.kit import Cases


def reply_to(prompt: str, system: str | None = None, **more: bool) -> str:
    before = [{"role": "system", "content": system}] if system else []
    return answer([*before, {"role": "user", "content": prompt}], **more)


def test_a_requested_reply_is_given_literally() -> None:
    table: list[tuple[str, str]] = [
        ("Reply with exactly: pong", "pong"),
        ("reply with exactly: 42 and a half", "42 and a half"),
        ('Say exactly "hello there" and nothing else.', "hello there"),
        ("Answer with only the word yes.", "yes"),
        ("Reply with the single word PONG.", "PONG"),
        ("Please repeat after me: three small fish", "three small fish"),
        ("Count from 1 to 5", "1, 2, 3, 4, 5"),
        ("What is 12 * 12?", "12 * 12 = 144"),
        ("[slow] Reply with exactly: still here", "still here"),
    ]
    with Cases() as cases:
        for prompt, reply in table:
            with cases.case(prompt, reply):
                assert reply_to(prompt) == reply


def test_an_answer_is_about_the_topic_with_a_short_list() -> None:
    reply = reply_to("Explain how glaciers carve valleys")
    assert "glaciers carve valleys" in reply
    assert sum(line.startswith("- ") for line in reply.splitlines()) == 3
    assert "**Glaciers**" in reply


def test_a_list_has_the_requested_length() -> None:
    assert sum(line.startswith("- ") for line in reply_to("Give me five ideas for a garden").splitlines()) == 5


def test_requested_code_is_written_in_its_language() -> None:
    table: list[tuple[str, str]] = [
        ("Write a Python function that sorts pears", "```python\ndef "),
        ("Show me javascript code for a timer", "```js\nfunction "),
        ("Write an SQL query for orders", "```sql\nselect"),
    ]
    with Cases() as cases:
        for prompt, fence in table:
            with cases.case(prompt, fence):
                assert fence in reply_to(prompt)


def test_an_answer_in_json_is_json_only() -> None:
    reply = msgspec.json.decode(reply_to("Describe two rivers", json=True))
    assert reply["items"]


def test_the_system_prompt_sets_role_and_length() -> None:
    reply = reply_to("Tell me about tea", system="You are a pirate. Be brief.")
    assert reply.startswith("As a pirate")
    assert "\n" not in reply


def test_a_requested_title_is_short() -> None:
    assert len(reply_to("Write a title for this conversation about baking sourdough bread").split()) <= 4


def test_the_same_prompt_has_the_same_answer_and_another_prompt_another() -> None:
    assert reply_to("Tell me about tides") == reply_to("Tell me about tides")
    assert reply_to("Tell me about tides") != reply_to("Tell me about winds")


def test_only_the_text_of_a_message_in_parts_is_read() -> None:
    parts = [{"type": "text", "text": "Reply with exactly: seen"}, {"type": "image_url", "image_url": {"url": "x"}}]
    assert answer([{"role": "user", "content": parts}]) == "seen"


def test_no_prompt_has_an_empty_answer() -> None:
    table: list[str] = ["", " ", "?", "\n\n", "日本の山", "🦊", "a" * 50_000, "say: ", 'say exactly "', "[fail]"]
    with Cases() as cases:
        for prompt in table:
            with cases.case(prompt):
                assert reply_to(prompt)
                assert replies.describe(prompt)


def test_the_pieces_of_a_text_join_to_the_text() -> None:
    text = reply_to("Write a Python function about islands\nand explain it")
    assert "".join(replies.split(text)) == text
