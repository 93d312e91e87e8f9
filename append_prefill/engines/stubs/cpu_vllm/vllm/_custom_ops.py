"""Stub of vLLM's kernels: rotary embedding stores the name, never calls it."""

from sgl_kernel._raising import raising

rotary_embedding = raising("vllm._custom_ops", "rotary_embedding")
