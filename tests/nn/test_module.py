"""Module: its parameters and sub-modules, state dict, modes, hooks."""

import gc
import weakref

import numpy as np
import pytest

import minires as mr
from minires.errors import ArgumentError, StateDictError
from minires.nn import Buffer, Linear, Module, ModuleList, Parameter, Sequential
from minires.nn.module import in_mode


class Net(Module):
    def __init__(self):
        self.scale = Parameter([2.0])
        self.seen = Buffer([0.0])
        self.fc = Linear(3, 4)
        self.blocks = ModuleList([Linear(4, 4, bias=False), Sequential(Linear(4, 2), mr.nn.Dropout(0.5))])
        self.notes = "no parameter"

    def forward(self, x):
        x = self.fc(x) * self.scale
        for block in self.blocks:
            x = block(x)
        return x


NAMES = ["scale", "fc.weight", "fc.bias", "blocks.0.weight", "blocks.1.0.weight", "blocks.1.0.bias"]


def test_names_are_paths_in_the_order_of_the_attributes():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert [name for name, _ in net.named_buffers()] == ["seen"]
    assert list(net.state_dict()) == ["scale", "seen", *NAMES[1:]]
    assert [name for name, _ in net.named_modules()] == [
        "", "fc", "blocks", "blocks.0", "blocks.1", "blocks.1.0", "blocks.1.1",
    ]  # fmt: skip


def test_a_shared_parameter_is_listed_once_and_gets_both_gradients():
    net = Net()
    net.blocks[1][0].weight = Parameter(np.eye(4, dtype="f")[:2])
    net.tied = net.fc.weight
    assert sum(parameter is net.fc.weight for parameter in net.parameters()) == 1


def test_modes_reach_all_children():
    net = Net()
    assert all(module.training for module in net.modules())
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    assert all(module.training for module in net.train().modules())


@pytest.mark.parametrize("training", [True, False])
def test_a_mode_for_a_while_restores_that_of_each_module_even_after_an_error(training):
    net = Net()
    net.blocks[1].eval()
    before = [module.training for module in net.modules()]
    with pytest.raises(KeyError), in_mode(net, training):
        assert [module.training for module in net.modules()] == [training] * len(before)
        raise KeyError
    assert [module.training for module in net.modules()] == before


def test_zero_grad_forgets_every_gradient():
    net = Net()
    net(mr.tensor(np.ones((2, 3), "f"))).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    net.zero_grad()
    assert all(parameter.grad is None for parameter in net.parameters())


def test_state_dict_is_a_copy_and_round_trips():
    mr.manual_seed(1)
    net, other = Net(), Net()
    state = net.state_dict()
    before = state["fc.weight"].copy()
    net.fc.weight.data += 1
    np.testing.assert_array_equal(state["fc.weight"], before)
    other.load_state_dict(state)
    for name, array in other.state_dict().items():
        np.testing.assert_array_equal(array, state[name], err_msg=name)
        assert isinstance(array, np.ndarray)


def test_loading_lists_what_does_not_fit_and_changes_nothing():
    net = Net()
    before = net.state_dict()
    state = {name: array + 1 for name, array in before.items()}
    state["surplus"] = np.zeros(3, "f")
    state["fc.weight"] = np.zeros((3, 4), "f")
    del state["scale"]
    with pytest.raises(StateDictError, match=r"missing scale; left over surplus; .* fc.weight \(3x4 for 4x3\)\.$"):
        net.load_state_dict(state)
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
    with pytest.raises(StateDictError, match=r"fc\.weight"):
        net.load_state_dict({"fc.weight": np.zeros((3, 4), "f")}, strict=False)
    net.load_state_dict({"scale": np.array([5.0]), "surplus": np.zeros(2)}, strict=False)
    assert net.scale.item() == 5.0 and net.scale.dtype == np.float32


def test_a_plain_list_of_modules_is_refused():
    net = Net()
    net.forgotten = [Linear(2, 2)]
    with pytest.raises(ArgumentError, match=r"Net.forgotten is a plain list .* nn.ModuleList"):
        list(net.parameters())


@pytest.mark.parametrize("container", [Sequential, lambda item: ModuleList([item])])
def test_containers_take_modules_only(container):
    with pytest.raises(ArgumentError, match="item 0 is function"):
        container(mr.ops.relu)


def test_forward_hooks_see_and_replace():
    layer = Linear(3, 2)
    seen = []
    first = layer.register_forward_hook(lambda module, inputs, output: seen.append((module, inputs[0].shape)))
    second = layer.register_forward_hook(lambda module, inputs, output: output * 0)
    x = mr.tensor(np.ones((5, 3), "f"))
    assert (layer(x).numpy() == 0).all() and seen == [(layer, (5, 3))]
    second.remove(), first.remove(), first.remove()
    assert (layer(x).numpy() != 0).any() and len(seen) == 1


def test_unknown_attributes_raise():
    with pytest.raises(AttributeError):
        Net().fcc


def test_to_changes_dtype_in_place_and_forgets_gradients():
    net = Net()
    parameter = net.fc.weight
    net(mr.tensor(np.ones((2, 3), "f"))).sum().backward()
    assert net.to("float64") is net
    assert net.fc.weight is parameter and parameter.dtype == np.float64 and parameter.grad is None
    assert net.seen.dtype == np.float64


def test_apply_freeze_and_repr():
    net = Net()
    visited = []
    net.apply(visited.append)
    assert visited[0] is net and len(visited) == len(list(net.modules()))
    net.requires_grad_(False)
    assert not net(mr.tensor(np.ones((1, 3), "f"))).requires_grad
    assert "(0): Linear(4, 4, bias=False)" in repr(net)


def test_a_module_is_freed_without_the_garbage_collector():
    gc.disable()
    try:
        net = Net()
        net(mr.tensor(np.ones((2, 3), "f"))).sum().backward()
        parameter = weakref.ref(net.fc.weight)
        del net
        assert parameter() is None
    finally:
        gc.enable()
