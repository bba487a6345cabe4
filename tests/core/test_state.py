"""no_grad and its kin as blocks and as decorators; hooks; copies of tensors."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest

import minires as mr
from minires import nn
from minires.core.state import state
from minires.errors import ArgumentError, GraphError

# ------------------------------------------------------------------------------------------------------------ blocks

BLOCKS = {  # how a block is made, how it shows, and what shows inside
    "no_grad": (mr.no_grad, mr.is_grad_enabled, False),
    "enable_grad": (mr.enable_grad, mr.is_grad_enabled, True),
    "engine": (lambda: mr.engine("textbook"), lambda: state.engine, "textbook"),
    "detect_anomaly": (mr.detect_anomaly, lambda: state.anomaly, True),
}


@pytest.fixture(params=BLOCKS, ids=str)
def block(request):
    outside = mr.no_grad() if request.param == "enable_grad" else mr.enable_grad()
    with outside:
        yield BLOCKS[request.param]


def test_a_block_can_be_used_again_and_inside_itself(block):
    make, shown, inside = block
    outside, again = shown(), make()
    for _ in range(2):
        with again:
            with again:
                assert shown() == inside
            assert shown() == inside
        assert shown() == outside
    with pytest.raises(ZeroDivisionError), again, again:
        raise ZeroDivisionError
    assert shown() == outside


def test_a_block_decorates_functions_and_generators(block):
    make, shown, inside = block
    outside = shown()

    @make()
    def function(x, *, y=1):
        """Documented."""
        return x, y, shown()

    @make()
    def generator():
        received = yield shown()
        while received != "stop":
            try:
                received = yield (received, shown())
            except ValueError as error:
                received = yield (str(error), shown())
            except GeneratorExit:
                ended.append(shown())
                raise
        ended.append(shown())
        return "returned"

    ended = []
    assert function(2, y=3) == (2, 3, inside)
    assert (function.__name__, function.__doc__) == ("function", "Documented.")
    steps = generator()
    assert next(steps) == inside
    assert shown() == outside  # between the steps, the caller's own state holds
    assert steps.send(5) == (5, inside)
    assert steps.throw(ValueError("wrong")) == ("wrong", inside)
    assert shown() == outside
    with pytest.raises(StopIteration, match="returned"):
        steps.send("stop")
    unfinished = generator()
    assert (next(unfinished), unfinished.send(1)) == (inside, (1, inside))
    unfinished.close()
    assert ended == [inside, inside]
    assert shown() == outside
    with pytest.raises(KeyError):
        next(make()(lambda: iter({}["missing"]))())


def test_a_generator_that_fails_restores_the_state():
    @mr.no_grad()
    def fails():
        yield 1
        raise ZeroDivisionError

    steps = fails()
    next(steps)
    with pytest.raises(ZeroDivisionError):
        next(steps)
    assert mr.is_grad_enabled()


@pytest.mark.parametrize("decorator", [mr.no_grad, mr.detect_anomaly, mr.enable_grad])
def test_decorators_need_no_parentheses(decorator):
    @decorator
    def recorded():
        return mr.is_grad_enabled()

    assert recorded() == (decorator is not mr.no_grad)


def test_what_cannot_be_decorated_is_refused():
    async def coroutine():
        pass

    async def stream():
        yield 1

    for wrong, words in [(coroutine, "async"), (stream, "async"), (3, "not 3"), (nn.Module, "Module")]:
        with pytest.raises(ArgumentError, match=words):
            mr.no_grad()(wrong)


def test_threads_that_share_a_block_do_not_disturb_each_other():
    shared, states = mr.no_grad(), []

    def work(other_is_inside, done):
        other_is_inside.wait()
        with shared:
            states.append(mr.is_grad_enabled())
        states.append(mr.is_grad_enabled())
        done.set()

    entered, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=work, args=(entered, done))
    thread.start()
    with shared:
        entered.set()
        assert done.wait(10)
        states.append(mr.is_grad_enabled())
    thread.join()
    assert states == [False, True, False]
    assert mr.is_grad_enabled()


# ------------------------------------------------------------------------------------------------------------- hooks


def test_each_handle_removes_its_own_registration():
    x, calls = mr.tensor([1.0], requires_grad=True), []

    def hook(grad):
        calls.append(grad.item())

    first, second = x.register_hook(hook), x.register_hook(hook)
    first.remove()
    first.remove()
    (x * 2).sum().backward()
    assert calls == [2.0]
    second.remove()
    (x * 2).sum().backward()
    assert calls == [2.0]


def test_a_hook_that_removes_itself_skips_no_other():
    x, calls, handles = mr.tensor([1.0], requires_grad=True), [], []

    def once(grad):
        calls.append("once")
        handles[0].remove()

    handles.append(x.register_hook(once))
    x.register_hook(lambda grad: calls.append("always"))
    for _ in range(2):
        (x * 2).sum().backward()
    assert calls == ["once", "always", "always"]


# ------------------------------------------------------------------------------------------------------------ copies

COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda t: pickle.loads(pickle.dumps(t))}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_what_was_computed_is_not_copied_with_its_graph(copied):
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    y = x * 2
    for _ in range(2000):
        y = y + 1.0
    model = nn.Linear(2, 2)
    model.last = model(mr.ones(1, 2))
    for value in (x * 2, y, [y], model):
        with pytest.raises(GraphError, match=r"(mul|add|linear) computed.*t\.detach\(\)"):
            copied(value)
    assert copied(y.detach()).tolist() == y.tolist()
    model.last = model.last.detach()
    np.testing.assert_array_equal(copied(model).weight.numpy(), model.weight.numpy())


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
def test_hooks_are_not_copied(copied):
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    graph = x * 2
    x.register_hook(lambda grad: graph * grad)  # cannot be pickled, and refers to a graph
    (x * 3).sum().backward()
    other = copied(x)
    assert (other.tolist(), other.requires_grad, other.hooks, other.op) == ([1.0, 2.0], True, None, None)
    assert other.grad.tolist() == x.grad.tolist() == [6.0, 12.0]
    other.grad = None
    (other * 3).sum().backward()
    assert other.grad.tolist() == [3.0, 3.0]


def test_a_shallow_copy_shares_everything():
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    y = copy.copy(x * 2)
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]
    assert np.shares_memory(copy.copy(x).data, x.data)
