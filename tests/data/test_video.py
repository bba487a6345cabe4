"""Reading clips: folders, animations and, if PyAV is installed, video files; damaged and hostile ones."""

import sys
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import minires as mr
from minires.data import video
from minires.data.video import read_video, sampled

SHADES = [0, 40, 80, 120, 160, 200]


def frames(shades=SHADES, size=(6, 4)):
    return [Image.new("RGB", size, (shade, 0, 0)) for shade in shades]


def animation(path, shades=SHADES, **options):
    first, *others = frames(shades)
    first.save(path, save_all=True, append_images=others, **options)
    return path


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "apng", "tiff"])
def test_animations_are_read_frame_by_frame(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {"format": "PNG"} if suffix == "apng" else {}
    path = animation(tmp_path / f"a.{suffix}", **options)
    clip = read_video(path)
    assert clip.shape == (6, 3, 4, 6) and clip.dtype == np.uint8
    assert clip[:, 0, 1, 2].tolist() == SHADES and not clip[:, 1:].any()
    assert read_video(path, frames=3)[:, 0, 0, 0].tolist() == [40, 120, 200]
    assert read_video(path, frames=1, size=(2, 5), channels=1).shape == (1, 1, 2, 5)


def test_a_gif_of_changed_parts_is_composed(tmp_path):
    """The second frame of the file holds only what changes; Pillow draws it over the first."""
    first = Image.new("RGB", (6, 4), "black")
    second = first.copy()
    second.putpixel((5, 3), (255, 255, 255))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    clip = read_video(tmp_path / "a.gif", channels=1)
    assert clip[0].max() == 0 and clip[1].sum() == 255 == clip[1, 0, 3, 5]


def test_transparent_pixels_become_white(tmp_path):
    image = Image.new("RGBA", (6, 4), (10, 20, 30, 0))
    image.save(
        tmp_path / "a.webp", save_all=True, append_images=[Image.new("RGBA", (6, 4), (1, 2, 3, 255))], lossless=True
    )
    clip = read_video(tmp_path / "a.webp")
    assert clip[0].min() == 255 and clip[1, :, 0, 0].tolist() == [1, 2, 3]


def test_a_folder_is_read_in_natural_order(tmp_path):
    for number, shade in ((10, 200), (9, 100), (1, 0)):
        Image.new("RGB", (6, 4), (shade, 0, 0)).save(tmp_path / f"frame{number}.png")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no frame")
    assert read_video(tmp_path)[:, 0, 0, 0].tolist() == [0, 100, 200]


def test_frames_of_other_sizes_need_a_size(tmp_path):
    frames()[0].save(tmp_path / "0.png")
    frames(size=(8, 5))[0].save(tmp_path / "1.png")
    with pytest.raises(mr.errors.DataError, match=r"1\.png is 5x8, but 0\.png is 4x6; give a size"):
        read_video(tmp_path)
    assert read_video(tmp_path, size=4).shape == (2, 3, 4, 4)


@given(total=st.integers(1, 500), count=st.integers(1, 100))
def test_sampled_frames_are_the_middles_of_equal_parts(total, count):
    chosen = sampled(total, count)
    assert len(chosen) == count and chosen.min() >= 0 and chosen.max() < total
    assert chosen.tolist() == [int(np.floor((i + 0.5) * total / count + 1e-9)) for i in range(count)]
    assert sampled(total, None).tolist() == list(range(total))


def test_one_frame_is_repeated(tmp_path):
    frames()[1].save(tmp_path / "a.png")
    assert read_video(tmp_path / "a.png").shape == (1, 3, 4, 6)
    assert read_video(tmp_path / "a.png", frames=3)[:, 0, 0, 0].tolist() == [40, 40, 40]


def refused(path, reason, **options):
    with pytest.raises(mr.errors.DataError, match=reason) as caught:
        read_video(path, **options)
    message = str(caught.value)
    assert "\n" not in message and message.count(". ") == 0 and str(path.name) in message


def test_broken_animations_are_refused(tmp_path):
    animation(tmp_path / "whole.gif")
    content = (tmp_path / "whole.gif").read_bytes()
    (tmp_path / "text.gif").write_text("hello")
    (tmp_path / "empty.gif").write_bytes(b"")
    (tmp_path / "header.gif").write_bytes(content[:13])
    (tmp_path / "folder").mkdir()
    (tmp_path / "page.webp").write_text("<!doctype html><p>404")
    for name, reason in (
        ("text.gif", "it is not an image"),
        ("empty.gif", "it is empty"),
        ("header.gif", "cannot be read"),
        ("folder", "the folder holds no images"),
        ("nothing.gif", "there is no such file"),
        ("page.webp", "it is a web page"),
    ):
        refused(tmp_path / name, reason)


def test_a_cut_animation_names_the_frame(tmp_path):
    rng = np.random.default_rng(0)
    frames = [Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)) for _ in range(4)]
    path = tmp_path / "cut.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=80)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(mr.errors.DataError, match=r"clip .*cut.gif cannot be read: frame \d of \d is damaged\."):
        read_video(path)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_truncated_and_damaged_animations_raise_nothing_but_the_named_error(tmp_path, suffix):
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 255, (12, 15, 3), dtype=np.uint8)) for _ in range(4)]
    noise[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=noise[1:])
    content = (tmp_path / f"a.{suffix}").read_bytes()
    path = tmp_path / f"b.{suffix}"
    for trial in range(60):
        damaged = bytearray(content[: rng.integers(1, len(content))] if trial % 2 else content)
        for place in rng.integers(0, len(damaged), 4):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            clip = read_video(path, frames=3, size=(6, 7))
        except mr.errors.DataError as error:
            assert "\n" not in str(error)
        else:
            assert clip.shape == (3, 3, 6, 7)


def test_bombs_are_refused(tmp_path, monkeypatch):
    path = animation(tmp_path / "a.gif")
    monkeypatch.setattr(video, "MOST_PIXELS", 23)
    refused(path, "pixels; make it smaller")
    monkeypatch.setattr(video, "MOST_PIXELS", 24)
    monkeypatch.setattr(video, "MOST_CLIP_PIXELS", 100)
    refused(path, "it has 6 frames of 4x6, more than 100 pixels in all; read fewer frames")
    assert read_video(path, frames=4).shape[0] == 4
    assert read_video(path, size=4).shape == (6, 3, 4, 4)
    monkeypatch.setattr(video, "MOST_DECODED", 143)
    refused(path, "too many to decode", frames=4)


@pytest.mark.parametrize("claimed", [7, 300_000, 2**31 - 1])
def test_a_claimed_number_of_frames_is_not_believed(tmp_path, claimed):
    path = animation(tmp_path / "a.png")
    content = path.read_bytes()
    place = content.index(b"acTL")
    chunk = b"acTL" + claimed.to_bytes(4, "big") + content[place + 8 : place + 12]
    path.write_bytes(content[:place] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + content[place + 16 :])
    refused(path, "cannot be read")
    if claimed > 7:
        refused(path, "cannot be read", frames=3)


def test_more_frames_than_memory_holds_are_refused(tmp_path):
    refused(animation(tmp_path / "a.gif"), "1,000,000,000,000 frames are more than 100,000", frames=10**12)


def test_bad_arguments_are_refused(tmp_path):
    path = animation(tmp_path / "a.gif")
    for options, message in (
        ({"frames": 0}, "frames is 0"),
        ({"size": 0}, "size is 0"),
        ({"channels": 4}, "channels is 4"),
    ):
        with pytest.raises(mr.errors.ArgumentError, match=message):
            read_video(path, **options)


def test_without_pyav_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    (tmp_path / "a.mp4").write_bytes(b"0000")
    monkeypatch.setitem(sys.modules, "av", None)
    refused(tmp_path / "a.mp4", r"PyAV, which is not installed: pip install 'minires\[video\]'")


@pytest.fixture
def movie(tmp_path):
    av = pytest.importorskip("av")

    def write(name, shades=SHADES, codec="mpeg4", size=(64, 48)):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream(codec, rate=10)
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            for shade in shades:
                pixels = np.full((size[1], size[0], 3), shade, np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "a.MOV"])
def test_video_files_are_read(movie, name):
    path = movie(name)
    clip = read_video(path)
    assert clip.shape == (6, 3, 48, 64) and clip.dtype == np.uint8
    np.testing.assert_allclose(clip.mean(axis=(1, 2, 3)), SHADES, atol=4)  # the codec loses a little
    chosen = read_video(path, frames=3, size=(12, 20), channels=1)
    assert chosen.shape == (3, 1, 12, 20)
    np.testing.assert_allclose(chosen.mean(axis=(1, 2, 3)), [40, 120, 200], atol=4)
    assert read_video(path, frames=9)[:, 0, 0, 0].tolist() == [clip[i, 0, 0, 0] for i in (0, 1, 1, 2, 3, 3, 4, 5, 5)]


def test_broken_videos_are_refused(movie, tmp_path):
    content = movie("whole.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.mp4").write_text("hello world\n" * 50)
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "page.mp4").write_text("<html>404")
    for name, reason in (
        ("half.mp4", "damaged"),
        ("text.mp4", "damaged or not a video"),
        ("empty.mp4", "it is empty"),
        ("page.mp4", "it is a web page"),
        ("nothing.mp4", "there is no such file"),
    ):
        refused(tmp_path / name, reason)


def test_damaged_videos_raise_nothing_but_the_named_error(movie, tmp_path):
    rng = np.random.default_rng(0)
    content = movie("a.mkv").read_bytes()
    for trial in range(40):
        damaged = bytearray(content[: rng.integers(1, len(content))] if trial % 2 else content)
        for place in rng.integers(0, len(damaged), 6):
            damaged[place] = rng.integers(256)
        (tmp_path / "b.mkv").write_bytes(damaged)
        try:
            clip = read_video(tmp_path / "b.mkv", frames=3, size=(6, 7))
        except mr.errors.DataError as error:
            assert "\n" not in str(error)
        else:
            assert clip.shape == (3, 3, 6, 7)


@pytest.mark.parametrize("name", ["list.mp4", "list.m3u8", "script.mp4", "script.ffconcat"])
def test_playlists_and_scripts_cannot_name_other_files(movie, tmp_path, name):
    other = movie("secret.mp4")
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{other}\n#EXT-X-ENDLIST\n"
    script = f"ffconcat version 1.0\nfile {other}\n"
    (tmp_path / name).write_text(playlist if name.startswith("list") else script)
    refused(tmp_path / name, "damaged or not a video")


def test_a_file_with_sound_only_is_refused(tmp_path):
    av = pytest.importorskip("av")
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    refused(path, "it holds no video, only sound or text, or is damaged")


def test_large_videos_are_refused(movie, monkeypatch):
    path = movie("a.mp4")
    monkeypatch.setattr(video, "MOST_CLIP_PIXELS", 6 * 48 * 64 - 1)
    refused(path, "it has 6 frames of 48x64, more than")
    assert read_video(path, frames=5).shape[0] == 5
    monkeypatch.setattr(video, "MOST_PIXELS", 48 * 64 - 1)
    refused(path, "make it smaller")
