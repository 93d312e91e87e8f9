"""Stub of vLLM, which SGLang up to 0.5.7 imports on any device that is not CUDA."""
