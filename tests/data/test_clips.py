"""Moving shapes: their frames, boxes and classes; folders of clips."""

import numpy as np
import pytest
from PIL import Image

import minires as mr
from minires.data.clips import AndReversed, ClipSplit, clip_folder, draw_clip, moving_shapes

HERE = np.arange


def test_clips_come_in_pairs_of_the_same_frames_in_reverse_order():
    for split in (moving_shapes(6, 4, size=24, frames=5).train, moving_shapes(6, 4, size=24, frames=5).test):
        clips, labels = split[HERE(len(split))]
        assert labels.tolist() == [0, 1] * (len(split) // 2)
        np.testing.assert_array_equal(clips[::2], clips[1::2, ::-1])
        assert len({clip.tobytes() for clip in clips}) == len(split)


def test_a_network_of_single_frames_is_right_for_exactly_half_of_the_clips():
    clips, labels = moving_shapes(2, 40, size=16, frames=4).test[HERE(40)]
    mr.manual_seed(0)
    model = mr.vision.tsn("resnet8", 2).to("float64").eval()
    logits = model(mr.tensor(clips / 255.0)).numpy()
    margins = logits[:, 1] - logits[:, 0]
    assert np.abs(margins).min() > 1e-9
    np.testing.assert_allclose(margins[::2], margins[1::2], rtol=1e-9)
    assert ((margins > 0) == labels).mean() == 0.5


@pytest.mark.parametrize("difficulty", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("size", "frames"), [(16, 8), (33, 2), (48, 8), (40, 20)])
def test_the_object_moves_sideways_by_a_constant_number_of_pixels_and_stays_inside(size, frames, difficulty):
    for seed in range(6):
        for label, sign in ((0, -1), (1, 1)):
            clip = draw_clip(label, size, frames, difficulty, np.random.default_rng(seed))
            assert clip.frames.shape == (frames, 3, size, size) and clip.frames.dtype == np.uint8
            assert clip.boxes.shape == (frames, 4)
            steps = np.diff(clip.boxes, axis=0)
            assert (steps == steps[0]).all() and steps[0, 1] == steps[0, 3] == 0
            assert steps[0, 0] == steps[0, 2] and 1 <= sign * steps[0, 0] <= 3
            assert clip.boxes.min() >= 0 and clip.boxes.max() <= size
            assert (clip.boxes[:, 2:] > clip.boxes[:, :2]).all()


def test_the_boxes_are_exact():
    """Without difficulty, all that differs from the background is the object; its edges may cover half a pixel."""
    for seed in range(8):
        clip = draw_clip(1, 40, 6, 0.0, np.random.default_rng(seed))
        for frame, (left, top, right, bottom) in zip(clip.frames.astype(int), clip.boxes, strict=True):
            differs = (frame != frame[:, :1, :1]).any(axis=0)
            rows, columns = np.flatnonzero(differs.any(axis=1)), np.flatnonzero(differs.any(axis=0))
            found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
            inside = np.array([left, top, right, bottom])
            assert (np.abs(found - inside) <= 1).all()
            assert (found[:2] <= inside[:2]).all() and (found[2:] >= inside[2:]).all()


def test_drawing_depends_on_the_seed_the_split_and_the_index_only():
    first, second = moving_shapes(8, 6, size=16, frames=3, seed=5), moving_shapes(4, 2, size=16, frames=3, seed=5)
    np.testing.assert_array_equal(first.train[HERE(4)][0], second.train[HERE(4)][0])
    np.testing.assert_array_equal(first.test[np.array([1])][0], second.test[np.array([1])][0])
    assert not np.array_equal(first.train[HERE(2)][0], first.test[HERE(2)][0])
    other = moving_shapes(4, 2, size=16, frames=3, seed=6)
    assert not np.array_equal(first.train[HERE(2)][0], other.train[HERE(2)][0])


def test_a_split_makes_a_clip_once_and_returns_copies():
    made = []

    def make(i):
        made.append(i)
        return np.full((2, 1, 3, 4), i, np.uint8)

    split = ClipSplit(make, np.array([0, 1, 0]), (2, 1, 3, 4))
    clips, labels = split[np.array([2, 0, 2])]
    assert clips[:, 0, 0, 0, 0].tolist() == [2, 0, 2] and labels.tolist() == [0, 0, 0]
    clips[...] = 9
    assert split[np.array([2])][0].max() == 2
    assert made == [2, 0]
    assert split.task == "video" and split.image_shape == (2, 1, 3, 4) and len(split) == 3


def test_a_split_that_is_too_large_for_memory_is_not_kept(monkeypatch):
    monkeypatch.setattr("minires.data.clips.MOST_IN_MEMORY", 70)
    made = []
    split = ClipSplit(lambda i: made.append(i) or np.zeros((2, 1, 3, 4), np.uint8), np.zeros(3, np.int64), (2, 1, 3, 4))
    split[np.array([1])], split[np.array([1])]
    assert made == [1, 1]


def test_each_training_batch_holds_both_directions():
    data = moving_shapes(6, 2, size=16, frames=3)
    clips, labels = data.train[np.array([0, 3, 4])]
    before = clips.copy()
    both, classes = data.augmentation(clips, labels, np.random.default_rng(0))
    np.testing.assert_array_equal(both, np.concatenate([before, before[:, ::-1]]))
    assert classes.tolist() == [0, 1, 0, 1, 0, 1]
    np.testing.assert_array_equal(clips, before)
    assert AndReversed.moves_targets and repr(AndReversed((1, 0))) == "AndReversed(opposite=(1, 0))"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 15}, "size is 15; it must be an integer >= 16"),
        ({"frames": 1}, "frames is 1"),
        ({"size": 16, "frames": 9}, "frames is 9, but an object can move for at most 8 frames"),
        ({"train": 3}, "train is 3; it must be even"),
        ({"test": 0}, "test is 0"),
        ({"difficulty": 1.5}, "difficulty is 1.5"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(mr.errors.ArgumentError, match=message):
        moving_shapes(**options)


def write_clip(folder, name, shades, kind):
    folder.mkdir(parents=True, exist_ok=True)
    frames = [Image.new("RGB", (6, 4), (shade, shade, 2 * i)) for i, shade in enumerate(shades)]
    if kind == "folder":
        (folder / name).mkdir()
        for i, frame in enumerate(frames):
            frame.save(folder / name / f"frame{i}.png")
    else:
        frames[0].save(folder / f"{name}.{kind}", save_all=True, append_images=frames[1:], lossless=True)


@pytest.fixture
def classes(tmp_path):
    for label, base in (("down", 0), ("up", 100)):
        for i in range(6):
            write_clip(tmp_path / label, f"clip{i}", range(base, base + 12), ("folder", "webp", "png")[i % 3])
    (tmp_path / "up" / "notes.txt").write_text("not a clip")
    return tmp_path


@pytest.mark.parametrize("in_memory", [True, False, None])
def test_a_folder_for_each_class(classes, in_memory):
    data = clip_folder(classes, frames=4, in_memory=in_memory)
    assert data.classes == ("down", "up") and len(data.train) == 10 and len(data.test) == 2
    assert data.train.clip_shape == (4, 3, 4, 6) and data.train.task == "video"
    clips, labels = data.train[HERE(10)]
    assert sorted(labels.tolist()) == [0] * 5 + [1] * 5
    for clip, label in zip(clips, labels, strict=True):
        assert clip[:, 0, 0, 0].tolist() == [100 * label + i for i in (1, 4, 7, 10)]  # the middles of four parts


def test_folders_of_splits(tmp_path):
    for part, count in (("Train", 2), ("validation", 1)):
        for label in ("a", "b"):
            for i in range(count):
                write_clip(tmp_path / part / label, f"clip{i}", [5, 6], "folder")
    data = clip_folder(tmp_path, frames=3, size=(5, 7), channels=1)
    assert len(data.train) == 4 and len(data.test) == 2 and data.image_shape == (3, 1, 5, 7)
    assert "val" not in repr(data)


def test_bad_folders_are_refused(tmp_path, classes):
    with pytest.raises(mr.errors.DataError, match="is not a folder"):
        clip_folder(tmp_path / "nothing")
    with pytest.raises(mr.errors.ArgumentError, match="frames is 0"):
        clip_folder(classes, frames=0)
    with pytest.raises(mr.errors.ArgumentError, match="channels is 2"):
        clip_folder(classes, channels=2)
    with pytest.raises(mr.errors.ArgumentError, match="in_memory is 3"):
        clip_folder(classes, in_memory=3)
    (classes / "up" / "clip77").mkdir()
    with pytest.raises(mr.errors.DataError, match=r"the folder .*clip77 holds no images, the frames of a clip"):
        clip_folder(classes)
    (classes / "up" / "clip77").rmdir()
    (classes / "empty").mkdir()
    with pytest.raises(mr.errors.DataError, match=r"the class .*empty holds no clips"):
        clip_folder(classes)


def test_all_damaged_clips_are_named(classes):
    for name in ("clip1.webp", "clip2.png"):
        (classes / "up" / name).write_bytes(b"GIF89a not really")
    with pytest.raises(mr.errors.DataError, match=r"2 of 10 clips cannot be used: .*clip1\.webp.*clip2\.png"):
        clip_folder(classes)
    data = clip_folder(classes, in_memory=False)  # a damaged clip is noticed when it is read
    with pytest.raises(mr.errors.DataError, match="2 of 10 clips"):
        data.train[HERE(10)]


def test_a_link_out_of_the_folder_is_refused(classes, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    write_clip(outside, "clip", [1, 2], "folder")
    for link, target in (("linked", outside / "clip"), ("clip0/frame99.png", outside / "clip" / "frame0.png")):
        (classes / "up" / link).symlink_to(target)
        with pytest.raises(mr.errors.DataError, match="is a link out of the folder"):
            clip_folder(classes)
        (classes / "up" / link).unlink()
