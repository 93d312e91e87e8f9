"""Stub of SGLang's kernel package on a machine without a GPU.

The package on the index is CUDA only and does not import without a driver, and there is no CPU
build of it. SGLang's modules import these names when they load; on the plain CPU path (no AMX,
no speculative decoding, no quantisation, no host-memory cache) it never calls them. A name that
is called all the same raises, so nothing is measured that SGLang would not have done itself.

The list is the union over the versions tried. It is explicit, not a catch-all, because SGLang
probes for optional kernels with `try: import`: a name that always imports would send it down a
path that raises.
"""

# Runs in the server's interpreter, under any Python and without append_prefill on its path.
from sgl_kernel._raising import raising as _raising

_NAMES = (
    # 0.5.5.post3 to 0.5.12
    "silu_and_mul",
    "allreduce",
    # 0.5.18 to 0.5.23
    "assign_draft_cache_locs_contiguous_cpu",
    "assign_extend_cache_locs_cpu",
    "assign_req_to_token_pool_cpu",
    "build_tree_kernel_efficient_cpu",
    "copy_all_layer_kv_cache_cpu",
    "fill_accept_out_cache_loc_cpu",
    "fill_bonus_tokens_cpu",
    "verify_tree_greedy_cpu",
    "rotate_input_ids_cpu",
)
for _name in _NAMES:
    globals()[_name] = _raising("sgl_kernel", _name)
