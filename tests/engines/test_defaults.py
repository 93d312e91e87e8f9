"""What an installed SGLang declares, read off its files."""

from __future__ import annotations

import pytest

from append_prefill.engines.defaults import Reckoned, defaults_of
from append_prefill.errors import InfrastructureError
from tests.engines.installed import installed_python

ENVIRON = """
import os
class EnvField: ...
class Envs:
    # A comment.
    SGLANG_SWITCH = EnvBool(True)
    SGLANG_NAME = EnvStr("rust")
    SGLANG_LIMIT = EnvInt(3, minimum=1)
    SGLANG_UNSET = EnvStr(None)
    SGLANG_RECKONED = EnvInt(os.cpu_count())
    SGLANG_BYTES = EnvInt(3 * 1024 - 1)
    SGLANG_NONE_OF = EnvInt(-1)
    SGLANG_NAMED = EnvFloat(default=2.5)
    SGLANG_RENAMED = EnvBoolWithAlias(
        True, deprecated_name="SGLANG_BEFORE"
    )
    other: int = 3
"""
READS = """
import os
threads = int(os.environ.get("SGLANG_THREADS", "4"))
debug, fast = get_bool_env_var("SGLANG_DEBUG"), get_bool_env_var("SGLANG_FAST", default="True")
path = os.getenv(
    "SGLANG_PATH",
)
# Declared otherwise, read with two defaults, and with one that is reckoned.
limit, one, other = os.getenv("SGLANG_LIMIT", "9"), os.getenv("TWO", "1"), os.getenv("TWO", "2")
home = os.environ.get("SGLANG_HOME", str(Path.home()))
"""
ARGUMENTS = """
class ServerArgs:
    model_path: A[str, "The model."]
    enable_that: A[bool, Arg(help="That.")] = False
    plain_switch: bool = False
    tri_state: A[Optional[bool], "Maybe."] = None
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sglang")
    made = installed_python(folder, "0.5.23")
    (package,) = folder.glob("lib/python*/site-packages/sglang")
    fields = package / "srt" / "arg_groups" / "fields"
    fields.mkdir(parents=True)
    (package / "srt" / "environ.py").write_text(ENVIRON)
    (package / "srt" / "server_args.py").write_text(ARGUMENTS)
    (package / "srt" / "layers").mkdir()
    (package / "srt" / "layers" / "moe.py").write_text(READS)
    (fields / "cache.py").write_text("class Cache:\n    radix_cache_backend: A[str, 'x'] = None\n")
    (fields / "newer.py").write_text("this is of another Python")
    return made


def test_variables_declared_and_read_with_their_defaults(python):
    assert defaults_of(python).variables == {
        "SGLANG_SWITCH": True,
        "SGLANG_NAME": "rust",
        "SGLANG_LIMIT": 3,
        "SGLANG_UNSET": None,
        "SGLANG_BYTES": 3 * 1024 - 1,
        "SGLANG_NONE_OF": -1,
        "SGLANG_NAMED": 2.5,
        "SGLANG_RENAMED": True,
        "SGLANG_RECKONED": Reckoned("os.cpu_count()"),
        "SGLANG_THREADS": "4",
        "SGLANG_DEBUG": False,
        "SGLANG_FAST": True,
        "SGLANG_PATH": None,
    }
    assert defaults_of(python).formerly == {"SGLANG_RENAMED": "SGLANG_BEFORE"}


def test_arguments_and_which_are_switches(python):
    assert defaults_of(python).arguments == {
        "model_path": False,
        "enable_that": True,
        "plain_switch": True,
        "tri_state": False,
        "radix_cache_backend": False,
    }


def test_packages(python):
    assert defaults_of(python).packages["sglang"] == "0.5.23"


def test_a_version_that_declares_nothing_has_no_defaults(tmp_path):
    found = defaults_of(installed_python(tmp_path / "old", "0.5.5"))
    assert (found.variables, found.arguments) == ({}, {})


def test_what_does_not_answer(tmp_path):
    with pytest.raises(InfrastructureError, match="does not say what is in it"):
        defaults_of(tmp_path / "none")
