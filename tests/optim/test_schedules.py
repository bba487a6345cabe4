"""Schedules against their closed forms, and against PyTorch's."""

import json
import math

import pytest

import minires as mr
from minires.errors import ArgumentError, StateDictError
from minires.optim import SGD, ConstantLR, CosineLR, MultiStepLR, OneCycleLR, StepLR, Warmup


def optimizer(lr=0.4):
    return SGD([{"params": [mr.nn.Parameter([1.0])]}, {"params": [mr.nn.Parameter([1.0])], "lr": lr / 2}], lr=lr)


def rates(schedule, steps):
    found = [schedule.get_last_lr()[0]]
    for _ in range(steps):
        schedule.step()
        found.append(schedule.get_last_lr()[0])
    return found


EXPECTED = {
    "constant": (ConstantLR, lambda t: 0.4),
    "step": (lambda o: StepLR(o, 3, gamma=0.5), lambda t: 0.4 * 0.5 ** (t // 3)),
    "multistep": (lambda o: MultiStepLR(o, [2, 5]), lambda t: 0.4 * 0.1 ** ((t >= 2) + (t >= 5))),
    "cosine": (lambda o: CosineLR(o, 8, 0.1), lambda t: 0.1 + 0.15 * (1 + math.cos(math.pi * min(t, 8) / 8))),
    "warm-up": (lambda o: Warmup(ConstantLR(o), 4, 0.2), lambda t: 0.4 * (0.2 + 0.8 * min(t / 4, 1))),
    "warm-up of a step": (
        lambda o: Warmup(StepLR(o, 3), 4, 0.0), lambda t: 0.4 * 0.1 ** (t // 3) * min(t / 4, 1)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_closed_forms(name):
    make, formula = EXPECTED[name]
    o = optimizer()
    assert rates(make(o), 10) == pytest.approx([formula(t) for t in range(11)], rel=1e-12)
    if name != "cosine":  # whose minimum is the same for all groups
        assert o.param_groups[1]["lr"] == pytest.approx(o.param_groups[0]["lr"] / 2)


def test_one_cycle_rises_peaks_and_falls_to_almost_nothing():
    found = rates(OneCycleLR(optimizer(), max_lr=1.0, total_steps=20, pct_start=0.25), 25)
    assert found[0] == pytest.approx(1 / 25) and max(found) == found[4] == pytest.approx(1.0)
    assert found[:5] == sorted(found[:5]) and found[4:] == sorted(found[4:], reverse=True)
    assert found[19] == pytest.approx(1 / 25e4) and found[25] == found[19]


def test_one_cycle_takes_a_rate_for_each_group():
    o = optimizer()
    schedule = OneCycleLR(o, [1.0, 0.5], total_steps=8, pct_start=0.25)
    schedule.step()
    assert [group["lr"] for group in o.param_groups] == pytest.approx([1.0, 0.5])


@pytest.mark.parity
@pytest.mark.parametrize("name", ["StepLR", "MultiStepLR", "CosineAnnealingLR", "OneCycleLR"])
def test_schedules_equal_pytorch(name):
    torch = pytest.importorskip("torch")
    options = {
        "StepLR": {"step_size": 3, "gamma": 0.5}, "MultiStepLR": {"milestones": [2, 5]},
        "CosineAnnealingLR": {"T_max": 12, "eta_min": 0.01},
        "OneCycleLR": {"max_lr": 1.0, "total_steps": 13, "pct_start": 0.3, "div_factor": 10},
    }[name]  # fmt: skip
    theirs = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4, momentum=0.9)
    schedule = getattr(torch.optim.lr_scheduler, name)(theirs, **options)
    expected = [theirs.param_groups[0]["lr"]]
    for _ in range(12):
        theirs.step()
        schedule.step()
        expected.append(theirs.param_groups[0]["lr"])
    ours = getattr(mr.optim, name.replace("Annealing", ""))
    assert rates(ours(optimizer(), **options), 12) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("make", [lambda o: Warmup(CosineLR(o, 9), 4), lambda o: OneCycleLR(o, 1.0, 12)])
def test_a_resumed_schedule_goes_on(make):
    straight = rates(make(optimizer()), 8)
    first = make(optimizer())
    rates(first, 3)
    state = json.loads(json.dumps(first.state_dict()))
    second = make(optimizer())
    second.load_state_dict(state)
    assert rates(second, 5) == straight[3:]


CHAINS = {
    "two steps": [lambda o: StepLR(o, 2, 0.5), lambda o: StepLR(o, 3, 0.1)],
    "warm-up beside a cosine": [lambda o: CosineLR(o, 9), lambda o: Warmup(ConstantLR(o), 4, 0.25)],
    "three": [lambda o: MultiStepLR(o, [1, 4]), lambda o: StepLR(o, 2), lambda o: CosineLR(o, 7)],
}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("saved", [False, True])
def test_several_schedules_multiply(name, saved):
    o = optimizer(1.0)
    chain = [make(o) for make in CHAINS[name]]
    for t in range(1, 7):
        for schedule in chain:
            schedule.step()
        if saved:
            for schedule in chain:
                schedule.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
        expected = math.prod(make(optimizer(1.0)).rate(1.0, t) for make in CHAINS[name])
        assert [group["lr"] for group in o.param_groups] == pytest.approx([expected, expected / 2], rel=1e-12)


@pytest.mark.parametrize("make", [lambda o: StepLR(o, 2, 0.5), lambda o: Warmup(CosineLR(o, 9, 0.01), 3)])
def test_a_rate_set_by_hand_is_scaled_by_the_next_steps(make):
    o = optimizer(1.0)
    schedule = make(o)
    schedule.step()
    base = 3.0  # the rates are those of another base learning rate
    o.param_groups[0]["lr"] = schedule.rate(base, 1)
    second = make(other := optimizer(1.0))
    for t in range(2, 8):
        if t == 4:  # after a restart
            second.load_state_dict(schedule.state_dict())
            schedule, o = second, other
        schedule.step()
        assert [g["lr"] for g in o.param_groups] == pytest.approx([schedule.rate(base, t), schedule.rate(0.5, t)])


@pytest.mark.parity
def test_chained_schedules_and_rates_set_by_hand_equal_pytorch():
    torch = pytest.importorskip("torch")
    theirs, ours = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0), SGD([mr.nn.Parameter([1.0])], lr=1.0)
    schedules = torch.optim.lr_scheduler
    chains = [
        [schedules.StepLR(theirs, 3, 0.5), schedules.CosineAnnealingLR(theirs, 20, 0.01)],
        [StepLR(ours, 3, 0.5), CosineLR(ours, 20, 0.01)],
    ]
    for t in range(15):
        theirs.step()
        for chain in chains:
            for schedule in chain:
                schedule.step()
        if t == 6:
            theirs.param_groups[0]["lr"] = ours.param_groups[0]["lr"] = 0.3
        assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-9)


WRONG = [
    (lambda: StepLR(optimizer(), 0), ArgumentError, "step_size is 0"),
    (lambda: StepLR(optimizer(), 2, gamma=0), ArgumentError, "gamma is 0"),
    (lambda: StepLR([1.0], 2), ArgumentError, "takes an optimiser, not list"),
    (lambda: MultiStepLR(optimizer(), [5, 2]), ArgumentError, r"milestones are \[5, 2\]"),
    (lambda: MultiStepLR(optimizer(), [-1]), ArgumentError, "milestones is -1"),
    (lambda: CosineLR(optimizer(), 0), ArgumentError, "T_max is 0"),
    (lambda: CosineLR(optimizer(), 5, eta_min=-1), ArgumentError, "eta_min is -1"),
    (lambda: OneCycleLR(optimizer(), 0, 10), ArgumentError, "max_lr is 0"),
    (lambda: OneCycleLR(optimizer(), [1, 2, 3], 10), ArgumentError, "max_lr has 3 rates for 2 parameter groups"),
    (lambda: OneCycleLR(optimizer(), 1, epochs=3, steps_per_epoch=2), ArgumentError, "total_steps=epochs \\* steps"),
    (
        lambda: StepLR(optimizer()),
        ArgumentError,
        r"StepLR: missing .* 'step_size'; its arguments are \(optimizer",
    ),
    (lambda: StepLR(optimizer(), 3, last_epoch=4), ArgumentError, "last_epoch is not offered; load_state_dict"),
    (lambda: StepLR(optimizer(), 3).step(epoch=4), ArgumentError, "epoch is not offered"),
    (lambda: MultiStepLR(optimizer(), 3), ArgumentError, "milestones is 3; it must be a list"),
    (lambda: OneCycleLR(optimizer(), 1, 1), ArgumentError, "total_steps is 1"),
    (lambda: OneCycleLR(optimizer(), 1, 10, pct_start=2), ArgumentError, "pct_start is 2"),
    (lambda: Warmup(optimizer(), 5), ArgumentError, "takes a schedule"),
    (lambda: Warmup(ConstantLR(optimizer()), 0), ArgumentError, "steps is 0"),
    (
        lambda: ConstantLR(optimizer()).load_state_dict({"t": 1, "base_lrs": [0.1]}),
        StateDictError,
        "2 parameter groups",
    ),
]


@pytest.mark.parametrize(("call", "error", "words"), WRONG)
def test_wrong_arguments_raise_the_named_error(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert type(caught.value) is error and "\n" not in str(caught.value)


def test_every_registered_schedule_fits_a_run_and_ends_below_its_peak_unless_it_is_constant():
    for name, kind in mr.optim.SCHEDULES.items():
        optimizer = SGD([mr.nn.Parameter([1.0])], lr=0.5)
        schedule = kind.for_run(optimizer, steps=10)
        rates = []
        for _ in range(10):
            rates += schedule.get_last_lr()
            schedule.step()
        assert max(rates) == pytest.approx(0.5), name
        assert kind.has_warmup == (rates[0] < 0.4), name
        assert rates[-1] < 0.1 or name == "constant"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("step", [0.5] * 4 + [0.05] * 4 + [0.005] * 4), ("multistep", [0.5] * 6 + [0.05] * 3 + [0.005] * 3)],
)
def test_the_steps_of_a_run(name, expected):
    schedule = mr.optim.SCHEDULES[name].for_run(SGD([mr.nn.Parameter([1.0])], lr=0.5), steps=12)
    for rate in expected:
        assert schedule.get_last_lr() == pytest.approx([rate])
        schedule.step()
