"""A radix tree over token ids with pages and LRU eviction: SGLang's prefix cache in small.

Token ids are packed four bytes each, so that comparing prefixes is one memcmp and a prompt of
100,000 tokens costs microseconds, which must not show in the simulated times.
"""

from __future__ import annotations

import heapq
import sys
from array import array
from collections.abc import Sequence

TOKEN_BYTES = array("I").itemsize


def pack(token_ids: Sequence[int]) -> bytes:
    """Token ids as bytes, `TOKEN_BYTES` each. Raises TypeError or OverflowError for a bad id."""
    return array("I", token_ids).tobytes()


def _common_bytes(a: bytes, b: bytes) -> int:
    """Length of the longest common prefix of two byte strings."""
    n = min(len(a), len(b))
    if a[:n] == b[:n]:
        return n
    # The first byte that differs is the lowest one set in the xor of the little-endian numbers.
    differing = int.from_bytes(a[:n], "little") ^ int.from_bytes(b[:n], "little")
    return ((differing & -differing).bit_length() - 1) // 8


class _Node:
    """An edge and its end. Without a parent it is the root, or was evicted."""

    __slots__ = ("children", "key", "parent", "used")

    def __init__(self, key: bytes, parent: _Node | None, used: int) -> None:
        self.key = key
        self.parent = parent
        self.used = used
        self.children: dict[bytes, _Node] = {}


class PrefixCache:
    """Which prefixes are cached. Not thread-safe: the server calls it under its own lock.

    `page_tokens` >= 1 tokens are matched, stored and evicted together. `capacity_tokens` >= the
    longest sequence ever inserted; least recently used leaves go first. `tokens` are cached,
    `leaves` is how many sequences end in the tree without another going on.

    An eviction costs the logarithm of the leaves, where SGLang's walks all of them: what a server
    full of leaves takes for it is part of the simulated cost, and must not be real time as well.
    """

    def __init__(self, capacity_tokens: int, page_tokens: int = 1) -> None:
        if page_tokens < 1 or capacity_tokens < page_tokens:
            raise ValueError(f"a cache needs room for a page: {capacity_tokens=}, {page_tokens=}")
        self.capacity_tokens = capacity_tokens
        self.page_tokens = page_tokens
        self._page_bytes = page_tokens * TOKEN_BYTES
        self._clock = 0
        self.clear()

    def clear(self) -> None:
        """Forget everything (what /flush_cache does)."""
        self._root = _Node(b"", None, sys.maxsize)
        self.tokens = 0
        self.leaves = 0
        # (last use, number, leaf): an entry counts while the leaf is one and was not used since.
        self._oldest: list[tuple[int, int, _Node]] = []
        self._pushed = 0

    def match(self, prompt: bytes) -> int:
        """Tokens of the packed `prompt` that are cached, a whole number of pages; marks them used.

        At most len - 1 tokens, since SGLang always recomputes the last one.
        """
        self._clock += 1
        usable = max(0, len(prompt) - TOKEN_BYTES)
        node, matched = self._walk(prompt[: usable - usable % self._page_bytes])
        self._touched(node)
        return matched // TOKEN_BYTES

    def insert(self, sequence: bytes) -> None:
        """Store the whole pages of a packed sequence and evict what no longer fits.

        Raises ValueError for a sequence that does not fit even alone.
        """
        self._clock += 1
        whole = sequence[: len(sequence) - len(sequence) % self._page_bytes]
        if len(whole) // TOKEN_BYTES > self.capacity_tokens:
            raise ValueError("sequence is longer than the cache")
        node, matched = self._walk(whole)
        if matched < len(whole):
            rest = whole[matched:]
            # A leaf that is gone on from is none any more; another child is one more.
            self.leaves += bool(node.children) or node is self._root
            child = _Node(rest, node, self._clock)
            node.children[rest[: self._page_bytes]] = child
            self.tokens += len(rest) // TOKEN_BYTES
            node = child
        self._touched(node)
        if self.tokens > self.capacity_tokens:
            self._evict()

    def _walk(self, key: bytes) -> tuple[_Node, int]:
        """Deepest node on `key`'s path, split so that it ends where they part; bytes matched."""
        node, at = self._root, 0
        while at < len(key):
            child = node.children.get(key[at : at + self._page_bytes])
            if child is None:
                break
            common = _common_bytes(child.key, key[at : at + len(child.key)])
            common -= common % self._page_bytes
            if common < len(child.key):
                child = self._split(child, common)
            child.used = self._clock
            node, at = child, at + common
        return node, at

    def _split(self, node: _Node, at: int) -> _Node:
        """Cut `node`'s edge after `at` bytes; the new upper node."""
        parent = node.parent
        assert parent is not None
        upper = _Node(node.key[:at], parent, node.used)
        parent.children[upper.key[: self._page_bytes]] = upper
        node.key = node.key[at:]
        node.parent = upper
        upper.children[node.key[: self._page_bytes]] = node
        return upper

    def _touched(self, node: _Node) -> None:
        """Note the use of a path that ends in `node`, where that is a leaf."""
        if node.children or node.parent is None:
            return
        self._pushed += 1
        heapq.heappush(self._oldest, (node.used, self._pushed, node))
        # Every use leaves an entry behind; half of them outdated keeps the heap's size in bounds.
        if len(self._oldest) > 2 * self.leaves + 64:
            self._oldest = [entry for entry in self._oldest if _counts(entry)]
            heapq.heapify(self._oldest)

    def _evict(self) -> None:
        """Drop least recently used leaves until the rest fits.

        A path just inserted was used last, and a parent is never older than its child, so that
        path is the last to go; it fits alone, so it never does.
        """
        while self.tokens > self.capacity_tokens:
            entry = heapq.heappop(self._oldest)
            leaf = entry[2]
            parent = leaf.parent
            if parent is None or not _counts(entry):
                continue
            del parent.children[leaf.key[: self._page_bytes]]
            leaf.parent = None
            self.tokens -= len(leaf.key) // TOKEN_BYTES
            if parent.children or parent is self._root:
                self.leaves -= 1
            else:
                self._touched(parent)


def _counts(entry: tuple[int, int, _Node]) -> bool:
    """Whether this is the entry of a leaf's last use."""
    used, _, node = entry
    return node.parent is not None and not node.children and node.used == used
