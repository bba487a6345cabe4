"""The checker itself: what it accepts, what it leaves unchanged, how sensitive it is, and what it says at kinks."""

import subprocess
import sys

import numpy as np
import pytest

import minires as mr
from minires import nn
from minires.core import dispatch
from minires.core.tensor import Tensor
from minires.errors import ArgumentError, DTypeError, GradcheckError, ShapeError
from minires.gradcheck.check import largest_error
from minires.gradcheck.diagnosis import common_places


def leaf(data, **options):
    return mr.tensor(data, requires_grad=True, dtype="float64", **options)


class Spoiled(mr.Op):
    """3 x**2, whose gradient is multiplied by ``flaw``, a number or an array."""

    def __init__(self, flaw):
        self.flaw = np.asarray(flaw, "float64")

    def forward(self, x):
        return 3 * x * x

    def backward(self, upstream):
        return upstream * 6 * self.inputs[0] * Tensor.wrap(self.flaw)


def spoiled(flaw):
    return lambda x: Spoiled(flaw)(x)


# --- what it accepts


def test_one_tensor_a_list_and_a_tuple(rng):
    x, y = leaf(rng.standard_normal((2, 3))), leaf(rng.standard_normal(3))
    assert mr.gradcheck(mr.ops.tanh, x) is True
    assert mr.gradcheck(mr.ops.mul, [x, y]) is True
    assert mr.gradcheck(mr.ops.mul, (x, y), order=2) is True


def test_inputs_without_gradient_are_handed_through(rng):
    logits, labels = leaf(rng.standard_normal((3, 4))), mr.tensor([1, 3, 0])
    assert mr.gradcheck(mr.ops.cross_entropy, [logits, labels], order=2)


def test_several_outputs(rng):
    x = leaf(rng.standard_normal((2, 3)))
    assert mr.gradcheck(lambda x: (x.exp(), x.sum(axis=0), (x * x).sum()), x, order=2)
    with pytest.raises(GradcheckError, match="input 0"):
        mr.gradcheck(lambda x: (x.exp(), Spoiled(1.001)(x)), x)


def test_scalars_and_empty_inputs():
    assert mr.gradcheck(lambda x: x * x, leaf(3.0), order=2)
    assert mr.gradcheck(lambda x: x * x, leaf(np.zeros((0, 3))), order=2)
    with pytest.raises(GradcheckError, match=r"\(scalar\) is wrong at 1 of 1 elements; backward gives"):
        mr.gradcheck(spoiled(2.0), leaf(3.0))


def test_an_input_that_is_not_used_has_no_gradient(rng):
    x, unused = leaf(rng.standard_normal(3)), leaf(rng.standard_normal(4))
    assert mr.gradcheck(lambda x, unused: x.exp(), [x, unused], order=2)
    assert mr.gradcheck(lambda x: mr.tensor([1.0, 2.0], dtype="float64"), x, order=2)
    with pytest.raises(GradcheckError, match="zero everywhere: this path is missing"):
        mr.gradcheck(lambda x: x.detach() * 2, x)


def test_weights_may_be_reached_through_a_closure(rng):
    layer = nn.Conv2d(3, 4, (3, 2)).to("float64")
    x = leaf(rng.standard_normal((2, 3, 5, 4)))
    assert mr.gradcheck(lambda x, *weights: layer(x), [x, *layer.parameters()], order=2)


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        (mr.tensor([1.0], requires_grad=True), DTypeError, r"input 0 \(1\) is float32, whose rounding is as large"),
        ([mr.tensor([1.0])], ArgumentError, "no input requires a gradient"),
        ([], ArgumentError, "no input requires a gradient"),
        (np.ones(3), DTypeError, "inputs is ndarray; give a tensor, or a list"),
        ([leaf([1.0]), 2.0], DTypeError, "input 1 is float; make it a tensor"),
        (leaf([1.0]) * 2, ArgumentError, "input 0 is the output of mul; give a leaf"),
        ([x := leaf([1.0]), x], ArgumentError, "input 1 is given twice"),
    ],
)
def test_inputs_that_cannot_be_checked(inputs, error, message):
    with pytest.raises(error, match=message):
        mr.gradcheck(lambda *inputs: inputs[0], inputs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": 3}, "order is 3; it must be 1 or 2"),
        ({"order": True}, "order is True"),
        ({"eps": 0}, "eps is 0; it must be a number > 0"),
        ({"atol": -1.0}, "atol is -1.0; it must be a number >= 0"),
        ({"rtol": "0.1"}, "rtol is '0.1'"),
        ({"seed": -1}, "seed is -1; it must be an integer >= 0"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(ArgumentError, match=message):
        mr.gradcheck(mr.ops.exp, leaf([1.0]), **options)


@pytest.mark.parametrize(
    ("f", "message"),
    [
        (lambda x: x.astype("float32"), r"f returns float32 \(2\), whose rounding hides the slope"),
        (lambda x: x.argmax(axis=0), "f returns int64"),
        (lambda x: x.numpy(), "must return a tensor or a tuple of them, not ndarray"),
        (lambda x: (x, 1.0), "not float"),
        (lambda x: (), "not tuple"),
    ],
)
def test_outputs_that_cannot_be_checked(f, message):
    with pytest.raises(DTypeError, match=message):
        mr.gradcheck(f, leaf([1.0, 2.0]))


def test_an_error_of_f_is_its_own():
    with pytest.raises(ShapeError, match="matmul"):
        mr.gradcheck(lambda x: x @ x, leaf(np.ones((2, 3))))


def test_an_error_in_backward_is_a_failed_check():
    class Unfinished(mr.Op):
        def forward(self, x):
            return x * 2

    with pytest.raises(GradcheckError, match="backward raises NotImplementedError: Unfinished has no backward"):
        mr.gradcheck(lambda x: Unfinished()(x), leaf([1.0]))


def test_values_that_are_not_finite():
    with np.errstate(divide="ignore"), pytest.raises(GradcheckError, match="f gives NaN or infinity"):
        mr.gradcheck(mr.ops.log, leaf([1.0, 0.0]))


# --- what it leaves alone


def test_nothing_is_left_behind(rng):
    weight = leaf(rng.standard_normal((3, 2)))
    x, y = leaf(rng.standard_normal((4, 3))), leaf(rng.standard_normal(2))
    y.grad = kept = mr.tensor([1.0, 2.0])
    arrays, copies = [t.data for t in (x, y, weight)], [t.data.copy() for t in (x, y, weight)]
    pending = (x * x * weight.sum()).sum()

    mr.gradcheck(lambda x, y: (x @ weight + y).tanh(), [x, y], order=2)
    with pytest.raises(GradcheckError):
        mr.gradcheck(lambda x, y: Spoiled(2.0)(x @ weight + y), [x, y], order=2)

    assert x.grad is None and weight.grad is None and y.grad is kept
    for t, array, copy in zip((x, y, weight), arrays, copies, strict=True):
        assert t.data is array and (array == copy).all() and t.version == 0
    pending.backward()  # the checks are not counted as changes of x


def test_random_generators_are_not_touched(rng):
    mr.manual_seed(3)
    expected = mr.core.backend.generator().random(3)
    mr.manual_seed(3)
    state = np.random.get_state()[1].copy()
    mr.gradcheck(mr.ops.exp, leaf(rng.standard_normal(600)), order=2)
    assert (mr.core.backend.generator().random(3) == expected).all()
    assert (np.random.get_state()[1] == state).all()


def test_inside_no_grad():
    with mr.no_grad():
        assert mr.gradcheck(mr.ops.exp, leaf([1.0, 2.0]), order=2)


def test_the_same_seed_gives_the_same_numbers(rng):
    x = leaf(rng.standard_normal((20, 30)))
    errors = [largest_error(lambda x: x.exp() * x.tanh(), x, seed=seed) for seed in (0, 0, 1)]
    assert errors[0] == errors[1] != errors[2]
    assert 0 < errors[0] < 1e-8


def test_a_function_that_draws_numbers_is_refused():
    with pytest.raises(GradcheckError, match="a second identical call gives another result"):
        mr.gradcheck(lambda x: mr.ops.dropout(x, 0.5), leaf(np.ones(50)))


def test_a_noncontiguous_input_keeps_its_layout(rng):
    x = leaf(rng.standard_normal((2, 5, 4, 3)).transpose(0, 3, 1, 2))
    strides = x.data.strides
    assert mr.gradcheck(lambda x: mr.ops.conv2d(x, np.ones((4, 3, 3, 2))), x)
    assert x.data.strides == strides


# --- how sharp it is


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1.0, 1e3, 1e8])
@pytest.mark.parametrize("flaw", [0.999, 1.001, 1.0001])
def test_an_error_of_one_per_mille_is_found_at_any_scale(rng, scale, flaw):
    x = leaf(rng.standard_normal((3, 4)))
    assert mr.gradcheck(lambda x: Spoiled(1.0)(x) * scale, x)
    with pytest.raises(GradcheckError, match=f"constant factor {flaw}"):
        mr.gradcheck(lambda x: Spoiled(flaw)(x) * scale, x)


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
def test_rounding_of_large_values_is_no_error(rng, offset):
    x = leaf(rng.standard_normal((3, 4)))
    assert mr.gradcheck(lambda x: x.exp() + offset, x, order=2)
    assert mr.gradcheck(lambda x: (x + offset) * 1.5, leaf(rng.standard_normal((3, 4)) + offset))


def test_a_slope_that_is_zero_but_for_rounding_is_no_error(rng):
    x = leaf(rng.standard_normal((4, 3)))
    gamma, beta = mr.tensor([1.0, 2.0, 0.5], dtype="float64"), mr.tensor([0.0, 1.0, 2.0], dtype="float64")
    assert mr.gradcheck(lambda x: mr.ops.batch_norm(x, gamma, beta, None, None, True).sum(axis=0), x)


def test_wider_tolerances_let_more_through(rng):
    x = leaf(rng.standard_normal((3, 4)))
    with pytest.raises(GradcheckError):
        mr.gradcheck(spoiled(1.001), x, rtol=1e-2)
    assert mr.gradcheck(spoiled(1.001), x, rtol=0.2)
    assert mr.gradcheck(spoiled(1.001), x, atol=10.0)


def test_large_inputs_are_sampled(rng):
    x = leaf(rng.standard_normal((40, 50)))
    calls = []

    def f(x):
        calls.append(x)
        return x.exp().sum(axis=1)

    assert mr.gradcheck(f, x)
    assert len(calls) < 200
    with pytest.raises(GradcheckError, match=r"wrong at 64 of 64 sampled elements; .* constant factor 1\.001"):
        mr.gradcheck(spoiled(1.001), x)


@pytest.mark.parametrize("flaw", [1.5, np.nan])
def test_one_wrong_element_of_a_large_input_is_found_and_placed(rng, flaw):
    flaws = np.ones((40, 50))
    flaws[7, 31] = flaw
    x = leaf(rng.standard_normal((40, 50)))
    with pytest.raises(GradcheckError, match=r"wrong at 1 of 65 sampled elements; at \[7, 31\] backward gives"):
        mr.gradcheck(spoiled(flaws), x)


# --- kinks


def test_a_kink_beside_the_point_is_out_of_reach_of_a_smaller_step():
    x = leaf([3e-7, -3e-7, 3e-8, -2e-8, 1.0])
    assert mr.gradcheck(mr.ops.relu, x, order=2)
    assert mr.gradcheck(mr.ops.abs, x, eps=1e-6)


@pytest.mark.parametrize(
    ("f", "data", "place"),
    [
        (mr.ops.relu, [1.0, 0.0], r"at \[1\] its slope is"),
        (lambda x: mr.ops.max(x, axis=1), [[1.0, 3.0, 3.0]], r"at \[0, 1\] its slope is"),
        (lambda x: mr.ops.clip(x, -1, 1), [0.5, -1.0], r"at \[1\] its slope is"),
    ],
)
def test_a_kink_at_the_point_is_reported_as_one(f, data, place):
    with pytest.raises(GradcheckError, match=rf"f has a kink, a jump or a tie in input 0 \(.*\): {place}"):
        mr.gradcheck(f, leaf(data))


def test_a_gradient_that_no_side_of_a_kink_explains_is_wrong():
    class Steep(mr.ops.activation.ReLU):
        def backward(self, upstream):
            return upstream * 7

    with pytest.raises(GradcheckError, match="is wrong at 2 of 2 elements"):
        mr.gradcheck(lambda x: Steep()(x), leaf([1.0, 0.0]))


def test_a_jump_of_the_gradient_shows_at_order_2():
    x = leaf([1.0, 0.0])

    def square_of_relu(x):
        return mr.ops.relu(x) ** 2

    assert mr.gradcheck(square_of_relu, x)
    with pytest.raises(GradcheckError, match="kink"):
        mr.gradcheck(square_of_relu, x, order=2)


@pytest.mark.parametrize("eps", [1e-2, 1e-4, 1e-6])
def test_strong_curvature_is_no_kink(eps):
    assert mr.gradcheck(lambda x: (30 * x).exp(), leaf([0.0, 0.1, -0.2]), eps=eps, order=2)


# --- a guess never fails, whatever the numbers


class Constant(mr.Op):
    """Zero, with a wrong gradient."""

    def forward(self, x):
        return 0 * x

    def backward(self, upstream):
        return upstream * self.inputs[0]


def test_a_gradient_where_there_is_none(rng):
    with pytest.raises(GradcheckError, match="f does not depend on any of them"):
        mr.gradcheck(lambda x: Constant()(x), leaf(rng.standard_normal((3, 4))))


def test_a_constant_input(rng):
    flaws = rng.standard_normal((3, 4))
    with pytest.raises(GradcheckError, match="is wrong at 12 of 12 elements"):
        mr.gradcheck(spoiled(flaws), leaf(np.ones((3, 4))))


def test_an_input_that_f_accepts_in_one_order_only(rng):
    def f(x, rows):
        if rows.numpy()[0, 0] > rows.numpy()[-1, -1]:
            raise ValueError("rows must be sorted")
        return Spoiled(flaws)(x) + rows.sum()

    flaws = rng.standard_normal(3)
    with pytest.raises(GradcheckError, match="is wrong at 3 of 3 elements"):
        mr.gradcheck(f, [leaf(rng.standard_normal(3)), mr.tensor([[1.0, 2.0], [3.0, 4.0]], dtype="float64")])


# --- engines, devices, imports, sentences


def test_it_checks_the_kernel_of_the_engine_that_is_on(monkeypatch, rng):
    class Double(mr.Op):
        def forward(self, x):
            return 2 * x

        def backward(self, upstream):
            return upstream * 2

    wrong = dispatch.Registered(lambda op, upstream: (upstream * 3,), 0, ())
    monkeypatch.setitem(dispatch._kernels, (Double, "backward", "cpu"), wrong)
    x = leaf(rng.standard_normal(3))
    with mr.engine("textbook"):
        assert mr.gradcheck(lambda x: Double()(x), x)
    with pytest.raises(GradcheckError, match=r"constant factor 1\.5"):
        mr.gradcheck(lambda x: Double()(x), x)


def test_on_each_device(device, rng):
    x = leaf(rng.standard_normal((2, 3, 5, 4)), device=device)
    weight = leaf(rng.standard_normal((4, 3, 3, 2)), device=device)
    assert mr.gradcheck(lambda x, w: mr.ops.conv2d(x, w, stride=2), [x, weight], order=2)
    with pytest.raises(GradcheckError, match="flipped along axes 2, 3"):
        mr.gradcheck(lambda x, w: mr.ops.conv2d(x, w + (mr.ops.flip(w, (2, 3)) - w).detach()), [x, weight])


def test_importing_minires_does_not_import_the_cases():
    code = "import sys, minires; sys.exit('minires.gradcheck.cases' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("shape", "wrong", "sentence"),
    [
        ((2, 3), [1, 4], ", all at index 1 of axis 1"),
        ((3, 2), [0, 1, 4, 5], ", all but those at index 1 of axis 0"),
        ((2, 3, 3), [0, 8, 11], ", all on the border of the last two axes"),
        ((2, 3), [0, 4], ""),
        ((2, 3), range(6), ""),
        ((), [0], ""),
    ],
)
def test_what_the_wrong_places_have_in_common(shape, wrong, sentence):
    assert common_places(shape, list(wrong)) == sentence


def test_the_sentence_names_place_and_values():
    flaws = np.ones((2, 3))
    flaws[1, 2] = 3
    with pytest.raises(GradcheckError) as caught:
        mr.gradcheck(spoiled(flaws), leaf([[1.0, -2.0, 3.0], [0.5, 1.5, 2.0]]))
    assert str(caught.value).startswith(
        "gradcheck: the gradient with respect to input 0 (2x3) is wrong at 1 of 6 elements; at [1, 2]"
    )
