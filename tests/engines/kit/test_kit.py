"""The commands of the offline kit, from the index to a node that has none."""

import hashlib
import json
import lzma
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from append_prefill.engines.kit import __main__ as kit
from append_prefill.engines.kit import chunks
from append_prefill.engines.kit.chunks import MIB
from tests.engines.kit.wheelhouse import index_in, make_wheel, noise

HERE = ".".join(map(str, sys.version_info[:2]))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A kit of two small wheels and a kernel wheel larger than a chunk, in 4-MiB chunks."""
    folder = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        index = index_in(folder, patch)
        make_wheel(index, "sglang", "0.5.17", requires=("sglang-kernel", "tiny"))
        make_wheel(index, "tiny", files={"tiny/data": b"t" * 1000})
        big = noise(5 * MIB)
        files = {"sgl_kernel/sm90/ops.so": big + big, "sgl_kernel/sm100/ops.so": noise(MIB, 2)}
        make_wheel(index, "sglang-kernel", "0.4.5", files=files)
        arguments = ["build", "--sglang", "0.5.17", "--out", str(folder / "kit")]
        arguments += ["--share-mib", "4", "--python", HERE, "--without", "sm100"]
        assert kit.main(arguments) == 0
    return folder / "kit"


def shares_of(out: Path) -> list[Path]:
    return sorted(out.glob("share-*"))


def test_shares_keep_their_size_and_recompression_pays(built):
    shares = shares_of(built)
    # The second copy of the 5 MiB of noise is out of deflate's sight and within xz's.
    assert len(shares) == 2
    for share in shares:
        assert sum(f.stat().st_size for f in share.iterdir()) <= 4 * MIB
    manifest = json.loads((shares[0] / "manifest.json").read_text())
    assert manifest["shares"] == ["share-01", "share-02"]
    assert manifest["without"] == ["sm100"]
    entry = next(w for w in manifest["wheels"] if w["wheel"].startswith("sglang_kernel"))
    assert entry["xz"]
    assert len(entry["parts"]) == 2


def test_install_needs_only_the_shares_and_the_file_in_them(built, tmp_path):
    moved = [tmp_path / f"carried-{n}" for n in range(2)]
    for share, place in zip(shares_of(built), moved, strict=True):
        shutil.copytree(share, place)
    env = tmp_path / "env"
    command = [sys.executable, "-S", str(moved[0] / "kit.py"), "install", "--env", str(env)]
    command += ["--shares", *map(str, reversed(moved))]
    # -S hides the suite and its packages; pip runs in its own process and is found again.
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"SGLang 0.5.17 installed: {env}/bin/python"
    target = env / "lib" / f"python{HERE}" / "site-packages"
    assert hashlib.sha256((target / "sgl_kernel/sm90/ops.so").read_bytes()).digest() == (
        hashlib.sha256(noise(5 * MIB) * 2).digest()
    )
    assert not (target / "sgl_kernel/sm100").exists()
    code = "import sglang, tiny; print(sglang.__version__, sglang.__file__)"
    ran = subprocess.run([env / "bin" / "python", "-c", code], check=True, capture_output=True)
    assert ran.stdout.decode().split() == ["0.5.17", str(target / "sglang" / "__init__.py")]
    again = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert again.stdout.strip() == f"SGLang 0.5.17 is already in {env}."
    assert not list(tmp_path.glob("kit-*"))  # nothing left behind beside the environment


def test_the_environment_also_sees_the_packages_of_the_python_that_installed(built, tmp_path):
    chunks.install(shares_of(built), tmp_path / "env")
    code = "import pytest, sys; print(pytest.__version__, sys.prefix)"
    python = tmp_path / "env" / "bin" / "python"
    ran = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.split() == [pytest.__version__, str(tmp_path / "env")]


def test_check_verifies_and_installs_nothing(built, tmp_path, capsys):
    shares = list(map(str, shares_of(built)))
    env = tmp_path / "env"
    assert kit.main(["install", "--shares", *shares, "--env", str(env), "--check"]) == 0
    assert "3 wheels are whole" in capsys.readouterr().out
    assert not env.exists()


@pytest.mark.parametrize("main", [kit.main, chunks.main], ids=["suite", "node"])
def test_a_folder_that_is_no_share_is_refused(main, tmp_path, capsys):
    arguments = ["install", "--shares", str(tmp_path), "--env", str(tmp_path / "env")]
    assert main(arguments) == 2
    assert "is no chunk of a kit" in capsys.readouterr().err


def test_plan_prints_sizes_and_what_could_stay(tmp_path, monkeypatch, capsys):
    index = index_in(tmp_path, monkeypatch)
    make_wheel(index, "sglang", "0.5.17", requires=("sglang-kernel", "modelscope"))
    files = {"sgl_kernel/flash_ops.abi3.so": noise(3 * MIB), "sgl_kernel/sm100/a": noise(MIB, 2)}
    make_wheel(index, "sglang-kernel", "0.4.5", files=files)
    arguments = ["plan", "--sglang", "0.5.17", "--out", str(tmp_path / "kit")]
    assert kit.main([*arguments, "--without", "flash_ops"]) == 0
    out = capsys.readouterr().out
    assert "3.0 MiB of it flash_ops (left out)" in out
    assert "1.0 MiB of it sm100 (--without sm100 saves it)" in out
    assert "1.0 MiB  in 2 wheels: 1 chunks of 60 MiB" in out
    assert "left out: modelscope (asked for by sglang)" in out
    assert not list((tmp_path / "kit").glob("share-*"))


def test_xz_is_what_the_node_reads(built):
    packed = list((built / "packed").glob("*.xz"))
    assert len(packed) == 1
    with lzma.open(packed[0]) as stream:
        assert stream.read(2) == b"PK"
