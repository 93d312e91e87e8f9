"""Stub of vllm.model_executor."""
