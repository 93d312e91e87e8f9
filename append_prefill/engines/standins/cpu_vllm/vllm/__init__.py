"""Stand-in for vLLM, which SGLang 0.5.5.post3 imports on any device that is not CUDA."""
