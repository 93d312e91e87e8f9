"""From requests to the turns of conversations."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from append_prefill.workload.conversation import Turn

BLOCK_TOKENS = 512
"""Tokens of a block that has a hash in the Mooncake format (its publication fixes the number)."""

REPLY_TOKENS = 220
"""A reply's length where a file has none: what SGLang's agentic-trace loader takes by default."""

CHARACTERS_PER_TOKEN = 4
"""Of English text and code, in the tokenizers of models in use; a file of texts has no better."""


def estimated_tokens(characters: int) -> int:
    """How many tokens a text has, roughly, and at least one."""
    return max(1, math.ceil(characters / CHARACTERS_PER_TOKEN))


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a file.

    `prompt_tokens`: of the whole prompt or of what is new in it, as the function that takes it
    says. `reply_tokens` None: the file does not have it. `after_s`: since the request before it.
    """

    prompt_tokens: int
    reply_tokens: int | None
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class HashedRequest:
    """A request by the hashes of its prompt's blocks. `at_s`: when it arrived."""

    at_s: float
    prompt_tokens: int
    reply_tokens: int
    blocks: tuple[int, ...]

    @property
    def full_blocks(self) -> int:
        """Blocks that a longer prompt keeps; the last one may not be full, and changes."""
        return min(self.prompt_tokens // BLOCK_TOKENS, len(self.blocks))


def turns_of_new(requests: Iterable[Request]) -> list[Turn]:
    """The turns of one conversation whose requests tell what is new in each prompt."""
    return [
        Turn(request.prompt_tokens, request.reply_tokens or REPLY_TOKENS, request.after_s)
        for request in requests
    ]


def turns_of_whole(requests: Iterable[Request]) -> list[list[Turn]]:
    """Conversations from requests in order, each with its whole prompt.

    A prompt that is too short to hold all before it and something new (its context was compacted)
    begins the next conversation. A reply of unknown length takes `REPLY_TOKENS` of what the next
    prompt grew by, or all but one of it, so that every prompt keeps its length.
    """
    found: list[list[Turn]] = []
    held = 0  # the prompt before, and its reply where that is known
    unknown = False  # whether that reply's length is not
    for request in requests:
        append = request.prompt_tokens - held
        if unknown and append > 1:
            reply = min(REPLY_TOKENS, append - 1)
            last = found[-1][-1]
            found[-1][-1] = Turn(last.append_tokens, reply, last.after_s)
            append -= reply
        elif unknown:
            append = 0
        if not found or append < 1:
            found.append([])
            append = request.prompt_tokens
        unknown = request.reply_tokens is None
        found[-1].append(Turn(append, request.reply_tokens or REPLY_TOKENS, request.after_s))
        held = request.prompt_tokens + (request.reply_tokens or 0)
    return found


def extends(later: Sequence[int], earlier: Sequence[int], full_blocks: int) -> bool:
    """Whether a prompt begins with an earlier one, as far as its full blocks (>= 1) can tell."""
    return full_blocks > 0 and tuple(later[:full_blocks]) == tuple(earlier[:full_blocks])


def chained(requests: Sequence[HashedRequest]) -> list[list[Turn]]:
    """Conversations from requests in order of arrival that only their blocks connect.

    A request continues the one, of those that nothing continues yet, whose full blocks it begins
    with, the longest such, and whose prompt and reply leave it a new token. Requests that have no
    more in common than what others began (a system prompt) are apart: a request is continued only
    where its conversation was the first to have its last full block.
    """
    nodes: dict[tuple[int, int], int] = {}  # of the tree of blocks: (parent, hash) -> node
    began: dict[int, int] = {}  # node -> conversation that had it first
    open_at: defaultdict[int, list[int]] = defaultdict(list)  # node -> last requests waiting there
    conversation_of: list[int] = []
    found: list[list[Turn]] = []
    for index, request in enumerate(requests):
        path = _path(nodes, request.blocks)
        conversation = len(found)
        append, after_s = request.prompt_tokens, 0.0
        for node in reversed(path):
            earlier = _continued(open_at[node], requests, request) if node in open_at else None
            if earlier is None:
                continue
            conversation = conversation_of[earlier]
            append -= requests[earlier].prompt_tokens + requests[earlier].reply_tokens
            after_s = request.at_s - requests[earlier].at_s
            open_at[node].remove(earlier)
            break
        if conversation == len(found):
            found.append([])
        found[conversation].append(Turn(append, request.reply_tokens, after_s))
        conversation_of.append(conversation)
        for node in path:
            began.setdefault(node, conversation)
        full = request.full_blocks
        if full and began[path[full - 1]] == conversation:
            open_at[path[full - 1]].append(index)
    return found


def _path(nodes: dict[tuple[int, int], int], blocks: Iterable[int]) -> list[int]:
    path: list[int] = []
    for block in blocks:
        path.append(nodes.setdefault((path[-1] if path else -1, block), len(nodes)))
    return path


def _continued(
    waiting: Iterable[int], requests: Sequence[HashedRequest], request: HashedRequest
) -> int | None:
    """The longest of those waiting that leave `request` a new token."""
    fitting = [
        index
        for index in waiting
        if request.prompt_tokens > requests[index].prompt_tokens + requests[index].reply_tokens
    ]
    return max(fitting, key=lambda index: (requests[index].prompt_tokens, index), default=None)
