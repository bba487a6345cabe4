"""What holds modules: containers that register them, and plain ones, which are refused; attributes set by name."""

import copy
import pickle
from collections import OrderedDict, deque

import numpy as np
import pytest

import minires as mr
from minires.errors import ArgumentError
from minires.nn import (
    Buffer,
    Linear,
    Module,
    ModuleDict,
    ModuleList,
    Parameter,
    ParameterDict,
    ParameterList,
    ReLU,
    Sequential,
)


class Net(Module):
    """A module with an attribute ``held`` that is made by ``build``."""

    def __init__(self, build):
        self.held = build(Linear(2, 2))


LOST = [
    (lambda layer: [layer], r"Net.held is a plain list of modules, .* nn.ModuleList\."),
    (lambda layer: (1, layer), r"a plain tuple of modules, .* nn.ModuleList\."),
    (lambda layer: {"a": layer}, r"a plain dict of modules, .* nn.ModuleDict\."),
    (lambda layer: {layer: 0}, "a plain dict of modules"),
    (lambda layer: OrderedDict(a=layer), r"nn.ModuleDict\."),
    (lambda layer: {layer}, r"a plain set of modules, .* nn.ModuleList\."),
    (lambda layer: deque([layer]), "a plain deque"),
    (lambda layer: {"a": layer}.values(), "a plain dict_values"),
    (lambda layer: [[layer]], r"nn.ModuleList, and the containers in it in nn.ModuleList or nn.ModuleDict\."),
    (lambda layer: {"a": [{"b": (layer,)}]}, "nn.ModuleDict, and the containers in it"),
    (lambda layer: [layer.weight], r"a plain list of parameters, .* nn.ParameterList\."),
    (lambda layer: {"w": layer.weight}, r"nn.ParameterDict\."),
    (lambda layer: [Buffer([1.0])], "would not be saved; use register_buffer"),
    (lambda layer: (layer for _ in "a"), r"Net.held is a generator, .* nn.ModuleList\(\.\.\.\) for modules"),
    (lambda layer: zip([layer], "a", strict=True), "is a zip"),
    (lambda layer: map(copy.copy, [layer]), "is a map"),
    (lambda layer: enumerate([layer]), "is a enumerate"),
]


@pytest.mark.parametrize(("build", "words"), LOST)
@pytest.mark.parametrize("use", ["parameters", "state_dict", "eval", "modules"])
def test_modules_that_would_not_be_trained_are_refused(build, words, use):
    net = Sequential(Net(build))
    with pytest.raises(ArgumentError, match=words):
        list(getattr(net, use)())


def test_plain_containers_of_other_things_or_of_known_modules_are_allowed():
    class Known(Module):
        def __init__(self):
            self.first = Sequential(Linear(2, 2))
            self.order = [self.first, {"again": (self.first[0], self.first[0].weight)}]
            self.table = {"sizes": [1, 2, (3, np.zeros(2))], 4: {5}}
            self.table["itself"] = self.table
            self.first.parent_layers = [self.first]

    assert [name for name, _ in Known().named_parameters()] == ["first.0.weight", "first.0.bias"]


def test_what_belongs_to_the_class_is_refused_when_the_class_is_made():
    with pytest.raises(ArgumentError, match=r"Wrong.fc belongs to the class, .* self.fc = \.\.\. in __init__"):
        type("Wrong", (Module,), {"fc": Linear(2, 2)})


def test_a_module_list_is_a_list():
    a, b, c, d = (Linear(1, 1) for _ in range(4))
    modules = ModuleList([a]).append(b).extend([c])
    modules.insert(1, d)
    assert list(modules) == [a, d, b, c] and len(modules) == 4 and d in modules
    assert modules[-1] is c and modules.pop() is c and modules.index(b) == 2
    assert isinstance(modules[1:], ModuleList) and list(modules[1:]) == [d, b] and list(modules[::-1]) == [b, d, a]
    modules[0], modules[-1] = c, a
    assert list(modules) == [c, d, a]
    del modules[0]
    modules += [b, c]
    modules[1:3] = [c]
    assert list(modules) == [d, c, c] and [name for name, _ in modules.named_children()] == ["0", "1", "2"]
    for wrong in (lambda: modules[3], lambda: modules[-4], lambda: modules.__delitem__(7)):
        with pytest.raises(IndexError):
            wrong()
    with pytest.raises(TypeError):
        modules["0"]
    with pytest.raises(ArgumentError, match=r"item 3 is type, not an nn.Module; write ReLU\(\.\.\.\)"):
        modules.append(ReLU)


def test_sequential_by_names_and_slices():
    layers = OrderedDict(fc=Linear(3, 4), relu=ReLU(), last=Linear(4, 2))
    net = Sequential(layers)
    assert list(net.state_dict()) == ["fc.weight", "fc.bias", "last.weight", "last.bias"] and net[2] is layers["last"]
    x = mr.tensor([[1.0, 2.0, 3.0]])
    tail = net[1:]
    assert isinstance(tail, Sequential) and list(tail.state_dict()) == ["last.weight", "last.bias"]
    np.testing.assert_array_equal(tail(net[:1](x)).numpy(), net(x).numpy())
    numbered = Sequential(*net)[1:].append(Linear(2, 5))  # "2" is taken by the last layer
    assert [name for name, _ in numbered.named_children()] == ["1", "2", "3"] and len(numbered) == 3
    with pytest.raises(ArgumentError, match=r"given one by one; write Sequential\(\*modules\)"):
        Sequential([Linear(2, 2)])
    assert isinstance(pickle.loads(pickle.dumps(net))[1], ReLU) and len(copy.deepcopy(net)) == 3


def test_module_and_parameter_dicts():
    first, second = Linear(1, 1), Linear(1, 1)
    modules = ModuleDict({"a": first})
    modules["b"] = second
    modules.update({"a": second, "c": first})
    assert list(modules) == list(modules.keys()) == ["a", "b", "c"] and list(modules.values()) == [
        second,
        second,
        first,
    ]
    assert dict(modules.items())["c"] is first and "b" in modules and "d" not in modules and modules.pop("a") is second
    assert modules == modules and hash(modules) and modules != ModuleDict(modules) and len(modules) == 2
    for wrong in (lambda: modules["a"], lambda: modules.pop("training"), lambda: modules.__delitem__("a")):
        with pytest.raises(KeyError):
            wrong()
    for name, words in (("train", "already in use"), ("x.y", "without dots"), ("", "not empty"), (3, "a string")):
        with pytest.raises(ArgumentError, match=words):
            modules[name] = first
    with pytest.raises(ArgumentError, match=r"item 2 is int, not an nn.Module"):
        modules["d"] = 3
    parameters = ParameterDict({"w": Parameter([1.0]), "v": mr.tensor([2.0])})
    numbered = ParameterList([Parameter([1.0])]).append(mr.tensor([3.0]))
    for held, names in ((parameters, ["w", "v"]), (numbered, ["0", "1"])):
        assert [name for name, p in held.named_parameters() if isinstance(p, Parameter) and p.requires_grad] == names


def test_attributes_set_by_name():
    net = Linear(2, 1)
    net.register_buffer("seen", np.array([1, 2]))
    net.register_buffer("mask", mr.tensor([1.0]), persistent=False)
    net.register_parameter("scale", Parameter([3.0]))
    net.add_module("inner", Sequential(ReLU()))
    assert [name for name, _ in net.named_buffers()] == ["seen", "mask"] and net.seen.dtype == np.int64
    assert list(net.state_dict()) == ["weight", "bias", "seen", "scale"]
    net.load_state_dict({name: array + 1 for name, array in net.state_dict().items()})
    assert net.seen.numpy().tolist() == [2, 3] and net.mask.item() == 1
    assert isinstance(net.get_submodule("inner.0"), ReLU) and net.get_submodule("") is net
    with pytest.raises(AttributeError, match="'Sequential' object has no attribute '1'"):
        net.get_submodule("inner.1")
    for name in ("train", "in_features", "a.b", ""):
        with pytest.raises(ArgumentError, match=f"the name {name!r}"):
            net.register_buffer(name, [1.0])


@pytest.mark.parametrize(("name", "words"), [("cuda", r"write to\('cuda'\)"), ("double", "float64"), ("fcc", "'fcc'$")])
def test_methods_that_a_module_does_not_have(name, words):
    with pytest.raises(AttributeError, match=rf"Linear.* has no attribute .*{words}"):
        getattr(Linear(2, 2), name)
