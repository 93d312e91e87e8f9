"""What a stub's names are: functions that refuse."""


def raising(module, name):
    """A function called `name` that raises NotImplementedError, saying what was asked for."""

    def stub(*_args, **_kwargs):
        raise NotImplementedError(
            f"{module}.{name} was called, but this is append-prefill's CPU stub of that "
            "kernel: SGLang took a path that is not supported on a machine without a GPU. "
            "Run this configuration on a GPU, or drop the server argument that selects it."
        )

    stub.__name__ = stub.__qualname__ = name
    return stub
