"""The message tree of a conversation: its branches, siblings, and which messages fit into a model's context."""

from collections.abc import Sequence
from typing import Final

from app.chat.schemas import MessageNode, MessageRole

CHARACTERS_A_TOKEN: Final = 4  # a rough estimate, without a tokenizer
TOKENS_A_MESSAGE: Final = 4
UNKNOWN_CONTEXT: Final = 32_000  # tokens, for a model that does not report it
MAX_CONTEXT: Final = 256_000  # tokens sent at most, even if the model accepts more
ANSWER_SHARE: Final = 4  # a quarter of the context is reserved for the answer, up to MAX_ANSWER_TOKENS
MAX_ANSWER_TOKENS: Final = 8_000


class Tree:
    """Messages by parent; siblings are in order of creation."""

    def __init__(self, nodes: Sequence[MessageNode]) -> None:
        self._nodes = {node.id: node for node in nodes}
        self._children: dict[str | None, list[str]] = {}
        for node in nodes:
            self._children.setdefault(node.parent_id, []).append(node.id)

    def find(self, id: str) -> MessageNode | None:
        return self._nodes.get(id)

    def branch(self, leaf_id: str) -> list[MessageNode]:
        """The messages from the first to this one."""
        found: list[MessageNode] = []
        node = self._nodes.get(leaf_id)
        while node is not None:
            found.append(node)
            node = self._nodes.get(node.parent_id or "")
        return found[::-1]

    def siblings(self, id: str) -> list[str]:
        """The versions of this message, including itself."""
        return self._children.get(self._nodes[id].parent_id, [])

    def leaf(self, id: str) -> str:
        """The last message of the newest branch through this one."""
        while children := self._children.get(id):
            id = children[-1]
        return id


def fitting(branch: Sequence[MessageNode], system_prompt: str, context_length: int | None) -> list[str]:
    """The ids of the newest messages that fit into the model's context with the system prompt. The last one is always
    included, the oldest are dropped first, and the result starts with a user message."""
    length = min(context_length or UNKNOWN_CONTEXT, MAX_CONTEXT)
    remaining = length - min(length // ANSWER_SHARE, MAX_ANSWER_TOKENS) - _tokens(len(system_prompt))
    kept: list[MessageNode] = []
    for node in reversed(branch):
        remaining -= _tokens(node.size)
        if kept and remaining < 0:
            break
        if node.size:
            kept.append(node)
    while len(kept) > 1 and kept[-1].role is MessageRole.ASSISTANT:
        kept.pop()
    return [node.id for node in reversed(kept)]


def _tokens(characters: int) -> int:
    return TOKENS_A_MESSAGE + -(-characters // CHARACTERS_A_TOKEN)
