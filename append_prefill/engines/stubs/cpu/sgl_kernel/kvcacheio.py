"""Stub of the kernels that move KV cache between device and host memory.

0.5.5.post3 to 0.5.12 import them whether a host-memory cache is on or not.
"""

from sgl_kernel._raising import raising as _raising

_NAMES = (
    "transfer_kv_all_layer",
    "transfer_kv_all_layer_direct_lf_pf",
    "transfer_kv_all_layer_lf_pf",
    "transfer_kv_all_layer_lf_ph",
    "transfer_kv_all_layer_mla",
    "transfer_kv_all_layer_mla_lf_pf",
    "transfer_kv_direct",
    "transfer_kv_per_layer",
    "transfer_kv_per_layer_direct_pf_lf",
    "transfer_kv_per_layer_mla",
    "transfer_kv_per_layer_mla_pf_lf",
    "transfer_kv_per_layer_pf_lf",
    "transfer_kv_per_layer_ph_lf",
)
for _name in _NAMES:
    globals()[_name] = _raising("sgl_kernel.kvcacheio", _name)
