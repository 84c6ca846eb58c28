"""The tree of a conversation, and what of it fits into the context of a model."""

from hypothesis import given
from hypothesis import strategies as st

from app.chat.schemas import MessageNode, MessageRole
from app.chat.tree import TOKENS_A_MESSAGE, Tree, fitting


def branch(sizes: list[int]) -> list[MessageNode]:
    """A branch that begins and ends with a message of the user."""
    return [
        MessageNode(str(n), str(n - 1) if n else None, MessageRole.USER if n % 2 == 0 else MessageRole.ASSISTANT, size)
        for n, size in enumerate(sizes)
    ]


@given(
    st.lists(st.integers(0, 50_000), min_size=1, max_size=41).filter(lambda sizes: len(sizes) % 2 == 1 and sizes[-1]),
    st.integers(0, 16_000),
    st.none() | st.integers(1, 2_000_000),
)
def test_what_is_sent_fits_ends_with_the_question_and_begins_with_the_user(
    sizes: list[int], instruction: int, context: int | None
) -> None:
    nodes = branch(sizes)
    kept = fitting(nodes, "x" * instruction, context)
    ids = [node.id for node in nodes if node.size]
    assert kept[-1] == nodes[-1].id
    assert kept == ids[len(ids) - len(kept) :], "the newest, without a gap"
    tokens = [-(-sizes[int(id)] // 4) + TOKENS_A_MESSAGE for id in kept]
    if len(kept) > 1:
        assert nodes[int(kept[0])].role is MessageRole.USER
        assert sum(tokens) <= min(context or 32_000, 256_000)


def test_a_conversation_that_fits_is_sent_whole() -> None:
    assert fitting(branch([100] * 21), "", 200_000) == [str(n) for n in range(21)]


def test_a_tree_knows_its_branches() -> None:
    tree = Tree(
        [
            MessageNode("a", None, MessageRole.USER, 1),
            MessageNode("b", "a", MessageRole.ASSISTANT, 1),
            MessageNode("c", "a", MessageRole.ASSISTANT, 1),
            MessageNode("d", "b", MessageRole.USER, 1),
            MessageNode("e", None, MessageRole.USER, 1),
        ]
    )
    assert [node.id for node in tree.branch("d")] == ["a", "b", "d"]
    assert tree.siblings("b") == ["b", "c"]
    assert tree.siblings("a") == ["a", "e"]
    assert tree.leaf("a") == "c"
    assert tree.leaf("b") == "d"
    assert tree.branch("unknown") == []
