import json

import pytest

from append_prefill.engines.model import config_digest, resolve_model
from append_prefill.errors import UsageError
from append_prefill.workload.profile import Model

CONFIG = {"architectures": ["LlamaForCausalLM"], "torch_dtype": "bfloat16", "hidden_size": 64}
GEOMETRY = Model(name="nano", config=CONFIG)


@pytest.fixture
def resolve(tmp_path):
    def call(declared=GEOMETRY, model=None, dummy_weights=None):
        return resolve_model(
            declared, model=model, dummy_weights=dummy_weights, cache=tmp_path / "cache"
        )

    return call


@pytest.fixture
def directory(tmp_path):
    def make(name="Mine", weights=True, text=None):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(text or json.dumps(CONFIG))
        if weights:
            (folder / "model.safetensors").write_bytes(b"")
            (folder / "tokenizer.json").write_text("{}")
        return folder

    return make


def test_a_geometry_becomes_a_directory_once(resolve):
    first, second = resolve(), resolve()
    assert first == second
    assert json.loads((first.path / "config.json").read_text()) == CONFIG
    assert [file.name for file in first.path.iterdir()] == ["config.json"]
    assert first.launch_args() == ["--load-format", "dummy", "--skip-tokenizer-init"]
    assert first.identity() == {
        "name": "nano",
        "config_sha256": config_digest(CONFIG),
        "dtype": "bfloat16",
        "weights": "dummy",
    }


def test_another_geometry_is_another_directory(resolve):
    other = resolve(Model(name="nano", config=CONFIG | {"hidden_size": 65}))
    assert other.path != resolve().path


def test_the_digest_is_of_content_not_layout():
    shuffled = dict(reversed(CONFIG.items()))
    assert config_digest(shuffled | {"transformers_version": "5"}) == config_digest(CONFIG)


def test_a_directory_with_weights_is_real(resolve, directory):
    model = resolve(model=str(directory()))
    assert (model.name, model.weights, model.launch_args()) == ("Mine", "real", [])


def test_a_directory_without_weights_needs_dummies(resolve, directory):
    path = str(directory(weights=False))
    with pytest.raises(UsageError, match="--dummy-weights"):
        resolve(model=path)
    assert resolve(model=path, dummy_weights=True).weights == "dummy"


def test_models_that_are_not_there(resolve, directory, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    with pytest.raises(UsageError, match=r"--model org/name: .*hf download org/name"):
        resolve(model="org/name")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"has no config\.json"):
        resolve(model=str(tmp_path / "empty"))
    with pytest.raises(UsageError, match="no JSON"):
        resolve(model=str(directory("Bad", text="{")))


def test_a_name_is_looked_up_in_the_local_cache(resolve, directory, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    snapshot = directory("hub/models--org--name/snapshots/abc")
    refs = tmp_path / "hub/models--org--name/refs"
    refs.mkdir()
    (refs / "main").write_text("abc")
    model = resolve(model="org/name")
    assert (model.path, model.name) == (snapshot, "org/name")


def test_a_geometry_has_no_real_weights(resolve):
    with pytest.raises(UsageError, match="only a geometry"):
        resolve(dummy_weights=False)
