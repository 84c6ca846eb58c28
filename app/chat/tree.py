"""The tree of a conversation, without its texts: which branch is shown, who is whose sibling, what fits into a model."""

from collections.abc import Sequence
from typing import Final

from app.chat.schemas import MessageNode, Role

CHARACTERS_A_TOKEN: Final = 4  # a rough measure that no tokenizer is needed for
TOKENS_A_MESSAGE: Final = 4
UNKNOWN_CONTEXT: Final = 32_000  # tokens, of a model that does not say
MAX_CONTEXT: Final = 256_000  # tokens that are sent at most, whatever the model takes
ROOM: Final = 4  # a quarter of the context is left for the answer, but not more than
MAX_ROOM: Final = 8_000  # tokens


class Tree:
    """Messages by their parents; siblings are in the order in which they came."""

    def __init__(self, twigs: Sequence[MessageNode]) -> None:
        self._twigs = {twig.id: twig for twig in twigs}
        self._children: dict[str | None, list[str]] = {}
        for twig in twigs:
            self._children.setdefault(twig.parent_id, []).append(twig.id)

    def find(self, id: str) -> MessageNode | None:
        return self._twigs.get(id)

    def branch(self, leaf_id: str) -> list[MessageNode]:
        """From the first message to this one."""
        found: list[MessageNode] = []
        at = self._twigs.get(leaf_id)
        while at is not None:
            found.append(at)
            at = self._twigs.get(at.parent_id or "")
        return found[::-1]

    def siblings(self, id: str) -> list[str]:
        """With itself."""
        return self._children.get(self._twigs[id].parent_id, [])

    def leaf(self, id: str) -> str:
        """The end of the newest branch through this message."""
        while children := self._children.get(id):
            id = children[-1]
        return id


def fitting(branch: Sequence[MessageNode], system_prompt: str, context_length: int | None) -> list[str]:
    """The ids of the newest messages that fit into the model's context beside the system prompt, the last one always;
    the oldest turns go first, and what is left begins with the person."""
    length = min(context_length or UNKNOWN_CONTEXT, MAX_CONTEXT)
    left = length - min(length // ROOM, MAX_ROOM) - _tokens(len(system_prompt))
    kept: list[MessageNode] = []
    for twig in reversed(branch):
        left -= _tokens(twig.size)
        if kept and left < 0:
            break
        if twig.size:
            kept.append(twig)
    while len(kept) > 1 and kept[-1].role is Role.ASSISTANT:
        kept.pop()
    return [twig.id for twig in reversed(kept)]


def _tokens(characters: int) -> int:
    return TOKENS_A_MESSAGE + -(-characters // CHARACTERS_A_TOKEN)
