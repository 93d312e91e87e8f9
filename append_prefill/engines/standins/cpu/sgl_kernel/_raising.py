"""What a stand-in's names are: functions that refuse."""


def raising(module, name):
    """A function called `name` that raises NotImplementedError, saying what was asked for."""

    def stand_in(*_args, **_kwargs):
        raise NotImplementedError(
            f"{module}.{name} was called, but this is append-prefill's CPU stand-in for that "
            "kernel: SGLang took a path that is not supported on a machine without a GPU. "
            "Run this configuration on a GPU, or drop the server argument that selects it."
        )

    stand_in.__name__ = stand_in.__qualname__ = name
    return stand_in
