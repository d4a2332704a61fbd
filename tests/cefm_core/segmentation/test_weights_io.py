"""Weights files that load, and those that must be refused with the reason."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from cefm_core.digests import file_sha256
from cefm_core.errors import ConfigurationError
from cefm_core.segmentation.ultralight_vmunet import UltraLightVMUNet
from cefm_core.segmentation.weights_io import convert_checkpoint, load_weights, read_checkpoint, resolve_weights, save_weights


@pytest.fixture
def network():
    torch.manual_seed(4)
    return UltraLightVMUNet()


def same(a, b):
    return all(torch.equal(x, b[name]) for name, x in a.items()) and a.keys() == b.keys()


def test_round_trip_reports_file_digest_and_architecture(tmp_path, network):
    path = tmp_path / "w.safetensors"
    digest = save_weights(path, network.state_dict(), {"steps": 3}, UltraLightVMUNet)
    other = UltraLightVMUNet()
    facts = load_weights(path, other)
    assert same(network.state_dict(), other.state_dict())
    assert (facts.path, facts.sha256, facts.architecture) == (path, digest, "UltraLightVMUNet")
    assert digest == file_sha256(path)
    assert facts.metadata["training"] == '{"steps": 3}'


def test_same_weights_give_the_same_bytes(tmp_path, network):
    state = network.state_dict()
    first = save_weights(tmp_path / "a.safetensors", state, {"a": 1, "b": 2}, UltraLightVMUNet)
    assert first == save_weights(tmp_path / "b.safetensors", dict(reversed(state.items())), {"b": 2, "a": 1}, UltraLightVMUNet)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {"model_state_dict": s, "epoch": 7},
        lambda s: {"model_state_dict": {f"module.{k}": v for k, v in s.items()}},
    ],
    ids=["plain", "module prefix", "nested", "both"],
)
def test_published_kinds_of_checkpoint_convert(tmp_path, network, wrap):
    torch.save(wrap(network.state_dict()), tmp_path / "c.pth")
    convert_checkpoint(tmp_path / "c.pth", tmp_path / "c.safetensors")
    other = UltraLightVMUNet()
    load_weights(tmp_path / "c.safetensors", other)
    assert same(network.state_dict(), other.state_dict())


def test_whole_pickled_model_is_refused_without_running_it(tmp_path, network):
    torch.save(network, tmp_path / "m.pth")
    with pytest.raises(ConfigurationError, match="pickled model can run code"):
        read_checkpoint(tmp_path / "m.pth")
    with pytest.raises(ConfigurationError, match="can run code"):
        load_weights(tmp_path / "m.pth", network)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("the pickle was run",))


def test_pickle_under_a_false_name_is_refused_unread(tmp_path, network):
    for name in ("trap.safetensors", "trap.pkl"):
        (tmp_path / name).write_bytes(pickle.dumps(Trap()))
        with pytest.raises(ConfigurationError, match="can run code"):
            resolve_weights(str(tmp_path / name))
        with pytest.raises(ConfigurationError, match="pickled model"):
            read_checkpoint(tmp_path / name)


def test_truncated_file_is_named(tmp_path, network):
    path = tmp_path / "w.safetensors"
    save_weights(path, network.state_dict(), {}, UltraLightVMUNet)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigurationError, match="not a complete safetensors file"):
        load_weights(path, network)


def test_missing_unexpected_and_misshapen_tensors_are_all_named(tmp_path, network):
    state = dict(network.state_dict())
    state.pop("final.bias")
    state["extra"] = torch.zeros(1)
    state["final.weight"] = torch.zeros(1, 4, 1, 1)
    save_weights(tmp_path / "w.safetensors", state, {}, UltraLightVMUNet)
    with pytest.raises(ConfigurationError, match=r"missing final\.bias; unexpected extra; final\.weight is"):
        load_weights(tmp_path / "w.safetensors", network)


def test_numbers_that_are_not_finite_are_refused(tmp_path, network):
    state = dict(network.state_dict())
    state["final.bias"] = torch.tensor([float("nan")])
    save_weights(tmp_path / "w.safetensors", state, {}, UltraLightVMUNet)
    with pytest.raises(ConfigurationError, match="not finite"):
        load_weights(tmp_path / "w.safetensors", network)


@pytest.mark.parametrize("name", ["architecture", "input_transform"])
def test_another_architecture_or_input_transform_is_refused(tmp_path, network, name):
    metadata = {"architecture": "UltraLightVMUNet", "input_transform": "per-image min-max to 0..255"} | {name: "another"}
    save_file(network.state_dict(), tmp_path / "w.safetensors", metadata)
    with pytest.raises(ConfigurationError, match=f"{name} is 'another'"):
        load_weights(tmp_path / "w.safetensors", network)


def test_missing_file_names_the_setting(tmp_path):
    with pytest.raises(ConfigurationError, match=r"coarse\.weights"):
        resolve_weights(str(tmp_path / "absent.safetensors"))
