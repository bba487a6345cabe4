"""Tracks: identities of hand-made scenes, and CLEAR MOT scores against a reference that tries all assignments."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minires as mr
from minires.vision import Tracker, mota


def box(x, y=0, side=10):
    return [x, y, x + side, y + side]


def run(frames, labels=None, **options):
    tracker = Tracker(**options)
    return [
        tracker.update(
            np.array(boxes, float).reshape(-1, 4), [0] * len(boxes) if labels is None else labels[t]
        ).tolist()
        for t, boxes in enumerate(frames)
    ]


def test_objects_keep_their_identities_whatever_the_order_of_the_detections():
    frames = [[box(0), box(50)], [box(48), box(2)], [box(4), box(46)]]
    assert run(frames) == [[0, 1], [1, 0], [0, 1]]


def test_crossing_objects_are_matched_by_the_largest_sum_of_overlaps():
    """A greedy matching would give the first detection the better of its tracks, and leave the other a bad one."""
    frames = [[box(0), box(6)], [box(3), box(8)]]  # IoU of 3: 7/13, 7/13; of 8: 2/18, 8/12
    assert run(frames, threshold=0.1) == [[0, 1], [0, 1]]


def test_objects_of_different_classes_do_not_share_an_identity():
    frames = [[box(0)], [box(0)], [box(0), box(0)]]
    assert run(frames, labels=[[0], [1], [1, 0]]) == [[0], [1], [1, 0]]


@pytest.mark.parametrize(("max_age", "hidden", "expected"), [(2, 2, 0), (2, 3, 1), (0, 1, 1), (0, 0, 0)])
def test_a_hidden_object_is_found_again_up_to_max_age_frames(max_age, hidden, expected):
    frames = [[box(0)], *[[] for _ in range(hidden)], [box(1)]]
    assert run(frames, max_age=max_age)[-1] == [expected]


def test_identities_are_never_used_twice():
    frames = [[box(0)], [], [box(0)], [], [box(0)]]
    assert run(frames, max_age=0) == [[0], [], [1], [], [2]]


def test_an_overlap_at_the_threshold_counts_and_below_it_does_not():
    frames = [[[0, 0, 10, 10]], [[0, 0, 10, 5]]]  # IoU 0.5
    assert run(frames, threshold=0.5) == [[0], [0]]
    assert run(frames, threshold=0.51) == [[0], [1]]


def test_the_tracker_does_not_keep_the_callers_array():
    tracker, boxes = Tracker(), np.array([box(0)], float)
    tracker.update(boxes, [0])
    boxes += 1000
    assert tracker.update([box(0)], [0]).tolist() == [0]


def test_bad_arguments_are_refused():
    with pytest.raises(mr.errors.ArgumentError, match="threshold is 0"):
        Tracker(threshold=0)
    with pytest.raises(mr.errors.ArgumentError, match="max_age is -1"):
        Tracker(max_age=-1)
    with pytest.raises(mr.errors.ShapeError, match="labels is 2, but boxes is 1x4"):
        Tracker().update([box(0)], [0, 1])
    with pytest.raises(mr.errors.ArgumentError, match="NaN"):
        Tracker().update([[0, 0, np.nan, 1]], [0])
    with pytest.raises(mr.errors.ShapeError, match="truth has 1 frames, but found has 2"):
        mota([([], [])], [([], []), ([], [])])
    with pytest.raises(mr.errors.ShapeError, match="frame 1 of found has 1 identities, but 0 boxes"):
        mota([([], []), ([], [])], [([], []), ([4], [])])
    with pytest.raises(mr.errors.ArgumentError, match="occurs twice in frame 0 of truth"):
        mota([([4, 4], [box(0), box(20)])], [([], [])])
    with pytest.raises(mr.errors.ArgumentError, match=r"threshold is 1\.5"):
        mota([], [], threshold=1.5)


def scores(truth, found, threshold=0.5):
    result = mota(truth, found, threshold)
    return tuple(result[name] for name in ("id_switches", "misses", "false_positives", "objects"))


def test_a_perfect_tracker_scores_exactly_1():
    truth = [(["a", "b"], [box(t), box(40 - t)]) for t in range(5)]
    found = [([9, 3], [box(t), box(40 - t)]) for t in range(5)]
    assert mota(truth, found) == {
        "MOTA": 1, "id_switches": 0, "misses": 0, "false_positives": 0, "objects": 10
    }  # fmt: skip


def test_no_frames_and_no_objects_have_no_score():
    assert np.isnan(mota([], [])["MOTA"])
    empty = mota([([], [])], [([1], [box(0)])])
    assert np.isnan(empty["MOTA"]) and empty["false_positives"] == 1


def test_each_kind_of_mistake_is_counted():
    truth = [([1, 2], [box(0), box(50)])] * 4
    found = [
        ([7, 8], [box(0), box(50)]),
        ([7], [box(0)]),  # 2 is missed
        ([7, 8, 9], [box(0), box(50), box(100)]),  # nothing is at 100
        ([8, 7], [box(0), box(50)]),  # both are switched
    ]
    assert scores(truth, found) == (2, 1, 1, 8)
    assert mota(truth, found)["MOTA"] == 1 - 4 / 8


def test_mota_may_be_negative():
    assert mota([([1], [box(0)])], [([1, 2, 3], [box(90), box(40), box(60)])])["MOTA"] == -3


def test_the_last_identity_is_kept_although_another_box_overlaps_more():
    """Figure 3 of the paper: without this rule, the better box would take over, and cause two switches."""
    truth = [([1], [box(0)])] * 3
    found = [([5], [box(0)]), ([5, 6], [box(2), box(0)]), ([5], [box(0)])]
    assert scores(truth, found) == (0, 0, 1, 3)


def test_an_object_that_comes_back_with_its_identity_is_no_switch_and_with_another_is_one():
    truth = [([1], [box(0)]), ([], []), ([1], [box(30)])]
    assert scores(truth, [([5], [box(0)]), ([], []), ([5], [box(30)])])[0] == 0
    assert scores(truth, [([5], [box(0)]), ([], []), ([6], [box(30)])])[0] == 1


def test_crossing_objects_whose_identities_are_exchanged_are_two_switches():
    truth = [([1, 2], [box(t), box(40 - t)]) for t in (0, 10, 30, 40)]
    found = [([5, 6] if t < 20 else [6, 5], [box(t), box(40 - t)]) for t in (0, 10, 30, 40)]
    assert scores(truth, found) == (2, 0, 0, 8)


def reference(truth, found, threshold):
    """CLEAR MOT by trying all one-to-one assignments of the objects to boxes or to nothing."""

    def iou(a, b):
        shared = np.prod([max(0, min(a[k + 2], b[k + 2]) - max(a[k], b[k])) for k in (0, 1)])
        return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)

    history = []  # (object, identity) of all matches, the oldest first
    switches = misses = false_positives = 0
    for (ids, boxes), (names, guesses) in zip(truth, found, strict=True):
        objects, guessed = dict(zip(ids, boxes, strict=True)), dict(zip(names, guesses, strict=True))
        fixed = {}
        for one in ids:
            mine = [name for other, name in history if other == one]
            is_mine = mine and mine[-1] in guessed and [o for o, name in history if name == mine[-1]][-1] == one
            if is_mine and iou(objects[one], guessed[mine[-1]]) >= threshold:
                fixed[one] = mine[-1]
        free = [one for one in ids if one not in fixed]
        left = [name for name in names if name not in fixed.values()]
        best, chosen = (-1, -1.0), {}
        for order in permutations([*left, *[None] * len(free)], len(free)):
            pairs = {one: name for one, name in zip(free, order, strict=True) if name is not None}
            overlaps = [iou(objects[one], guessed[name]) for one, name in pairs.items()]
            if all(overlap >= threshold for overlap in overlaps) and (len(pairs), sum(overlaps)) > best:
                best, chosen = (len(pairs), sum(overlaps)), pairs
        for one, name in [*fixed.items(), *chosen.items()]:
            mine = [other for same, other in history if same == one]
            switches += bool(mine) and mine[-1] != name
            history.append((one, name))
        misses += len(ids) - len(fixed) - len(chosen)
        false_positives += len(names) - len(fixed) - len(chosen)
    return switches, misses, false_positives, sum(len(ids) for ids, _ in truth)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("threshold", [0.2, 0.5])
def test_mota_equals_the_reference(seed, threshold):
    rng = np.random.default_rng(seed)

    def frames(count):
        chosen = [rng.permutation(4)[: rng.integers(0, count)] for _ in range(8)]
        return [(ids.tolist(), [box(*rng.uniform(0, 15, 2), rng.uniform(5, 12)) for _ in ids]) for ids in chosen]

    truth, found = frames(4), frames(5)
    assert scores(truth, found, threshold) == reference(truth, found, threshold)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_a_tracker_gives_each_detection_of_a_frame_its_own_identity(seed):
    rng = np.random.default_rng(seed)
    tracker = Tracker(threshold=0.2, max_age=1)
    highest = -1
    for _ in range(6):
        corner = rng.uniform(0, 20, (rng.integers(0, 5), 2))
        found = tracker.update(np.hstack([corner, corner + 8]), rng.integers(0, 2, len(corner)))
        assert len(set(found.tolist())) == len(found)
        new = found[found > highest]
        assert sorted(new) == list(range(highest + 1, highest + 1 + len(new)))
        highest = max([highest, *found])
