"""What was moved is known again, and what merely has a common name is not."""

from __future__ import annotations

import pytest

from append_prefill.analysis.renamed import by_module, renamed, renamings

S = "scheduler"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("sglang.radix_cache:RadixCache.match", "sglang.unified:UnifiedRadixCache.match"),
        ("sglang.unified:UnifiedRadixCache.match", "sglang.radix_cache:RadixCache.match"),
        ("sglang.radix_cache:RadixCache.match", "sglang.mem.radix:RadixCache.match"),
        ("sglang.utils:set_flags", "sglang.utils.env:set_flags"),
        # A class within a class, and a function of C++.
        ("sglang.tree:Tree.Node.hash", "sglang.nodes:RadixTree.Node.hash"),
        ("torch:at::native.copy", "torch.ops:at::native.copy"),
        ("sglang.tree:Tree.Node.hash", "sglang.nodes:Node.hash"),
    ],
)
def test_what_has_moved_is_known_by_its_name(old, new) -> None:
    both = (S, "sglang.s:batch")
    names = renamings([(S, new), both], [(S, old), both])
    assert names == {(S, old): (S, new)}
    assert renamed({(S, old): 1.0, both: 2.0}, names) == {(S, new): 1.0, both: 2.0}


@pytest.mark.parametrize(
    ("new", "old"),
    [
        # Another class, another process, another name, a class and none.
        ([(S, "a:Attention.forward")], [(S, "b:Linear.forward")]),
        ([(S, "a:Radix.match")], [("http", "b:Radix.match")]),
        ([(S, "a:Pool.alloc_rows")], [(S, "a:Pool.alloc")]),
        ([(S, "a:Radix.match")], [(S, "b:match")]),
        ([(S, "a:match")], [(S, "b:Radix.match")]),
        ([(S, "a:Outer.Radix.match")], [(S, "b:Outer.Linear.match")]),
        # Both sides have it where it was.
        ([(S, "a:Radix.match"), (S, "b:Radix.match")], [(S, "a:Radix.match")]),
        # Two answer to the name.
        ([(S, "a:Radix.match"), (S, "c:Radix.match")], [(S, "b:Radix.match")]),
        ([(S, "a:Radix.match")], [(S, "b:Radix.match"), (S, "c:Radix.match")]),
        ([], [(S, "b:Radix.match")]),
    ],
)
def test_what_only_has_a_like_name_is_another(new, old) -> None:
    assert renamings(new, old) == {}


def test_a_modules_time_is_that_of_its_functions_in_one_process() -> None:
    own_ms = {
        (S, "sglang.pool:Pool.alloc"): 1.0,
        (S, "sglang.pool:Pool.alloc_rows"): 0.5,
        ("http", "sglang.pool:free"): 2.0,
        (S, "sglang.pool.other:free"): 4.0,
    }
    assert by_module(own_ms) == {
        (S, "sglang.pool"): 1.5,
        ("http", "sglang.pool"): 2.0,
        (S, "sglang.pool.other"): 4.0,
    }
