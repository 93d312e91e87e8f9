"""Where SGLang's versions differ: the only place in the suite that knows.

`table` holds what a server of each version says and takes, `cpu` what it needs to run without a
GPU, `packages` what its kernels are called. Imports nothing but the standard library and
`packaging`, since the installer runs it inside an environment that has little else.
"""

from append_prefill.engines.versions.cpu import cpu_packages_after, cpu_packages_before, cpu_stubs
from append_prefill.engines.versions.packages import KERNEL_PACKAGES, MATCHING
from append_prefill.engines.versions.table import (
    LONE_HALF,
    MODEL_INFO_PATHS,
    NEWEST,
    OLDEST,
    SCHEDULER_MAIN,
    SERVER_INFO_PATHS,
    SESSIONS_ARG,
    PrefillGraph,
    VersionTraits,
    parse_version,
    prefill_graph_in,
    prefill_graph_info,
    prefill_graph_tokens_in,
    retractions_in,
    shown,
    stream_error_status,
    traits_of,
    uncached_tail_in,
)

__all__ = [
    "KERNEL_PACKAGES",
    "LONE_HALF",
    "MATCHING",
    "MODEL_INFO_PATHS",
    "NEWEST",
    "OLDEST",
    "SCHEDULER_MAIN",
    "SERVER_INFO_PATHS",
    "SESSIONS_ARG",
    "PrefillGraph",
    "VersionTraits",
    "cpu_packages_after",
    "cpu_packages_before",
    "cpu_stubs",
    "parse_version",
    "prefill_graph_in",
    "prefill_graph_info",
    "prefill_graph_tokens_in",
    "retractions_in",
    "shown",
    "stream_error_status",
    "traits_of",
    "uncached_tail_in",
]
