"""SGLang's packages on a GPU: what its kernels are called, and what its metadata gets wrong."""

from __future__ import annotations

from packaging.specifiers import SpecifierSet

KERNEL_PACKAGES = ("sglang-kernel", "sgl-kernel")
"""The kernel package, newest name first: renamed in 0.5.10, and never both in one environment."""

MATCHING = (
    ("torch", *KERNEL_PACKAGES, "torchcodec", "sgl-deep-gemm"),  # compiled for one torch
    ("flashinfer-python", "flashinfer-cubin", "flashinfer-jit-cache"),  # one refuses another
)
"""Packages that go with one another's version alone, and whose metadata does not say so."""

KERNEL_PARTS = {
    "flash_ops": "sgl_kernel/flash_ops*",  # FlashAttention 3; then --attention-backend triton
    "flashmla_ops": "sgl_kernel/flashmla_ops*",  # attention of DeepSeek's models
    "infllm_ops": "sgl_kernel/infllm_ops*",
    "sm90": "sgl_kernel/sm90/*",  # H100, H200
    "sm100": "sgl_kernel/sm100/*",  # B200
}
"""Parts of the kernel wheel that a server can do without, as patterns of its members."""

NOT_FOR_SERVING = (
    "anthropic", "av", "blobfile", "build", "datasets", "decord2", "easydict", "flash-attn-4",
    "helion", "humming-kernels", "interegular", "llguidance", "mistral-common",
    "modelscope", "numba", "nvidia-cutlass-dsl", "nvidia-mathdx", "openai-harmony", "outlines",
    "py-spy", "quack-kernels", "sgl-deep-gemm", "smg-grpc-servicer", "tilelang", "timm",
    "tokenspeed-mla", "torchao", "torchcodec",
)  # fmt: skip
"""What SGLang's metadata asks for and a server of one dense bf16 model does not load.

Read off 0.5.17 by following the imports at module level from `launch_server`, the scheduler, the
model runner, Llama and the Triton and FlashAttention backends: none of these is reached outside a
function or a `try`. They serve grammars, quantised weights, other chips, images, evaluation.
"""

NOT_DECLARED = ("dill", "jsonschema")
"""What a server imports and its metadata leaves to packages of `NOT_FOR_SERVING` to bring."""

BOUND_IF_BARE = {"kernels": SpecifierSet("<0.13")}
"""Releases to 0.5.12 ask for any `kernels`; their transformers imports with none from 0.13 on."""
