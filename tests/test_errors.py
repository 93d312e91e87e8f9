"""What a user reads of a server that died: a line, of its log the one that tells most."""

import pytest

from append_prefill.errors import ServerDiedError, telling_line

CRASH = """[2026-11-27 05:00:01] server_args=ServerArgs(model_path='x')
[2026-11-27 05:00:09] Scheduler hit an exception: Traceback (most recent call last):
  File "scheduler.py", line 3, in run
    raise RuntimeError("x")
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB
[2026-11-27 05:00:09] Received sigquit from a child process.
Traceback (most recent call last):
  File "launch_server.py", line 3, in <module>
RuntimeError: Rank 0 scheduler died
"""


@pytest.mark.parametrize(
    ("log", "line"),
    [
        (CRASH, "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"),
        ("loading\nCUDA out of memory\nbye\n", "CUDA out of memory"),
        ("[12:00] ValueError: no such flag\nusage: x", "[12:00] ValueError: no such flag"),
        ("KeyboardInterrupt\n", "KeyboardInterrupt"),
        ("an Error in a sentence\nlast words\n\n", "last words"),
        ("red \x1b[31m<b>\n", "red \\x1b[31m<b>"),
        ("", ""),
    ],
)
def test_the_first_error_is_told(log, line):
    assert telling_line(log) == line


def test_the_line_has_no_traceback_and_the_account_has_all():
    error = ServerDiedError("the server ended with status 1", CRASH, "reports/x/candidate-0.log")
    assert str(error) == (
        "the server ended with status 1 (log: reports/x/candidate-0.log): "
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    )
    assert error.account.startswith(str(error))
    assert error.account.endswith(CRASH)
