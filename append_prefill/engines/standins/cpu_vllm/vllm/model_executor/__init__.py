"""Stand-in for vllm.model_executor."""
