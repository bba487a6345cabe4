"""``minires predict``: what a trained network finds in images and clips."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import typer

from ..core.backend import Array, to_device
from ..core.state import no_grad
from ..core.tensor import as_tensor
from ..errors import ArgumentError, DataError, counted
from ..interop.files import write_atomically, write_json
from ..ops import softmax
from ..training import Run, load_run
from ..training.classification import predict_logits
from ..training.folder import Row, write_table
from .options import DeviceOption, RunArgument, check_output, count_option, file_option, number
from .output import percent, print_table, printable

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..vision.decoding import Detections

BATCH_SIZE = 256
FRAME_MILLISECONDS = 100  # of the animations that --track draws
SIDES = ("x1", "y1", "x2", "y2")
ANIMATED = (".apng", ".gif", ".webp")


class Result(NamedTuple):
    """What was found in a file: rows of the table, and a drawing of it, or several frames."""

    path: Path
    rows: list[Row]
    drawing: Sequence[Image] = ()


def predict(
    run: RunArgument,
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGE_OR_FOLDER", help="Images of any format and size, or folders of images."),
    ],
    out: Annotated[
        str | None, file_option("Write a CSV file instead of a table, or boxes as COCO's results if it ends in .json.")
    ] = None,
    top: Annotated[int, count_option("Predict the K most probable classes.", metavar="K")] = 1,
    draw: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Write images with the boxes or masks drawn to this folder.")
    ] = None,
    threshold: Annotated[
        float, typer.Option(metavar="X", parser=number, help="The score, from 0 to 1, that a box must exceed.")
    ] = 0.2,
    track: Annotated[
        bool, typer.Option("--track", help="Find objects in clips, and number each of them through all frames.")
    ] = False,
    device: DeviceOption = "cpu",
) -> int:
    """Predict what images show, with a trained network: classes, boxes or masks.

    Each image is turned upright and converted to the colours and the size of
    the training images; transparent pixels become white. Predictions are only
    good for images that resemble the training images.

    Networks for clips, and detectors with --track, take clips: animations
    (GIF, WebP, APNG), folders of frames and, if PyAV is installed, video files.

    Files that cannot be read are reported and skipped. The exit status is 1 if
    none could be read.
    """
    check_output("--out", out)
    trained = load_run(run, device)
    check_options(trained, out, top, draw, threshold, track)
    if track:
        results = track_objects(trained, images, threshold, draw is not None)
    elif trained.config.task == "detection":
        results = detect_objects(trained, images, threshold, draw is not None)
    elif trained.config.task == "segmentation":
        results = segment(trained, images, draw is not None)
    else:
        results = classify(trained, images, top)
    found = list(save_drawings(results, draw))
    if not found:
        return 1
    rows = [row for result in found for row in result.rows]
    if draw is not None:
        print(f"{counted(len(found), 'drawing')} written to {printable(draw)}")
    if out is not None:
        write(Path(out), found, rows, trained)
        print(f"{counted(len(rows), 'prediction')} written to {printable(out)}")
    elif rows:
        names = [f">{name}" if isinstance(value, (int, float)) else name for name, value in rows[0].items()]
        print_table(names, [[cell(name, value) for name, value in row.items()] for row in rows])
    else:
        print(f"no score is above {threshold:g}")
    return 0


def check_options(run: Run, out: str | None, top: int, draw: str | None, threshold: float, track: bool) -> None:
    """Raise ArgumentError for an option that the task of the run does not take, and create the folder of drawings."""
    task, path = run.config.task, printable(str(run.path))
    if top > len(run.classes):
        raise ArgumentError(f"--top is {top}, but {path} has only {len(run.classes)} classes.")
    boxes = task == "detection"
    for option, given, taken in (
        ("--top", top != 1, task in ("classification", "video")),
        ("--draw", draw is not None, task in ("detection", "segmentation")),
        ("--threshold", threshold != 0.2, boxes),
        ("--track", track, boxes),
        ("--out with .json", out is not None and out.lower().endswith(".json"), boxes),
    ):
        if given and not taken:
            raise ArgumentError(f"{option} does not apply to {path}, a run of {task}; leave it out.")
    if not 0 <= threshold < 1:
        raise ArgumentError(f"--threshold is {threshold:g}; it must be at least 0 and below 1.")
    if draw is not None:
        try:
            Path(draw).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ArgumentError(
                f"--draw is {printable(draw)!r}; this folder cannot be made: {error.strerror}."
            ) from None


def classify(run: Run, paths: Iterable[str], top: int) -> Iterator[Result]:
    """Yield a row for each image or clip: file, class, probability, class_2, probability_2, ..."""
    *frames, channels, height, width = run.image_shape
    if frames:
        from ..data.video import read_video

        found = read_each(clip_files(paths), lambda path: read_video(path, frames[0], (height, width), channels))
    else:
        from ..data.images import read

        found = read_each(image_files(paths), lambda path: read(path, channels, (height, width)))
    device = next(run.model.parameters()).device
    suffixes = ["", *(f"_{rank}" for rank in range(2, top + 1))]
    while batch := list(islice(found, 1 if frames else BATCH_SIZE)):
        images = np.stack([image for _, image in batch])  # (N, C, H, W) or (1, T, C, H, W)
        with no_grad():
            floats = to_device(run.normalize(images), device)
            logits = predict_logits(run.model, floats, run.config.flip_test)  # (N, K)
            probabilities = softmax(as_tensor(logits), axis=1).numpy()  # (N, K)
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
        for (path, _), classes, row in zip(batch, best, probabilities, strict=True):
            prediction: Row = {"file": str(path)}
            for suffix, k in zip(suffixes, classes, strict=True):
                prediction[f"class{suffix}"] = run.classes[k]
                prediction[f"probability{suffix}"] = float(row[k])
            yield Result(path, [prediction])


def detect_objects(run: Run, paths: Iterable[str], threshold: float, draw: bool) -> Iterator[Result]:
    """Yield a row for each object in each image: file, class, score, and x1, y1, x2, y2 in pixels of the file."""
    from ..data.images import read
    from ..vision.detection import captions
    from ..vision.drawing import draw_boxes

    for path, pixels in read_each(image_files(paths), lambda path: read(path, run.image_shape[0])):
        found = boxes_in(run, pixels, threshold)
        rows = [{"file": str(path), **row} for row in rows_of(run, found)]
        names = captions(found, run.classes)
        yield Result(path, rows, [draw_boxes(pixels, found.boxes, found.labels.tolist(), names)] if draw else ())


def track_objects(run: Run, paths: Iterable[str], threshold: float, draw: bool) -> Iterator[Result]:
    """Yield a row for each object in each frame: file, frame, track, class, score, x1, y1, x2, y2."""
    from ..data.video import read_video
    from ..vision.drawing import draw_boxes
    from ..vision.tracking import Tracker

    for path, clip in read_each(clip_files(paths), lambda path: read_video(path, channels=run.image_shape[0])):
        tracker, rows, drawn = Tracker(), [], []
        for frame, pixels in enumerate(clip):
            found = boxes_in(run, pixels, threshold)
            tracks = tracker.update(found.boxes, found.labels).tolist()
            for track, row in zip(tracks, rows_of(run, found), strict=True):
                rows.append({"file": str(path), "frame": frame, "track": track, **row})
            if draw:
                names = [f"{track}: {run.classes[k]}" for track, k in zip(tracks, found.labels, strict=True)]
                drawn.append(draw_boxes(pixels, found.boxes, tracks, names))
        yield Result(path, rows, drawn)


def segment(run: Run, paths: Iterable[str], draw: bool) -> Iterator[Result]:
    """Yield a row for each image: file, and the share of its pixels of each class. Drawings are of the image's size."""
    from PIL import Image

    from ..data.images import read
    from ..vision.drawing import draw_mask

    for path, pixels in read_each(image_files(paths), lambda path: read(path, run.image_shape[0])):
        logits = outputs(run, pixels)  # (1, K, H, W)
        classes = logits.numpy()[0].argmax(axis=0).astype(np.uint8)  # (H, W)
        shares = np.bincount(classes.ravel(), minlength=len(run.classes)) / classes.size
        mask = Image.fromarray(classes).resize(pixels.shape[:0:-1], Image.Resampling.NEAREST)
        row = {"file": str(path), **{name: float(share) for name, share in zip(run.classes, shares, strict=True)}}
        yield Result(path, [row], [draw_mask(pixels, np.asarray(mask))] if draw else ())


def outputs(run: Run, pixels: Array) -> Any:
    """Return what the network of a run returns for one image (C, H, W) of any size."""
    from ..data.images import resized

    _, height, width = run.image_shape
    small = resized(pixels, (height, width))[None]  # (1, C, H, W)
    with no_grad():
        return run.model(as_tensor(to_device(run.normalize(small), next(run.model.parameters()).device)))


def boxes_in(run: Run, pixels: Array, threshold: float) -> Detections:
    """Find the objects in an image (C, H, W), with boxes in its own pixels."""
    from ..vision.decoding import detect

    _, height, width = run.image_shape
    model: Any = run.model
    (found,) = detect(outputs(run, pixels), (height, width), model.locations((height, width)), threshold)
    scale = np.array([pixels.shape[2] / width, pixels.shape[1] / height] * 2, np.float32)  # (4,)
    return found._replace(boxes=found.boxes * scale)


def rows_of(run: Run, found: Detections) -> Iterator[Row]:
    """Yield a row for each object: class, score, x1, y1, x2, y2."""
    for box, score, label in zip(found.boxes.tolist(), found.scores, found.labels, strict=True):
        yield {"class": run.classes[label], "score": float(score), **dict(zip(SIDES, box, strict=True))}


def image_files(paths: Iterable[str]) -> Iterator[Path]:
    """Yield the image files in ``paths``, which may include folders. Folders without images are reported on stderr."""
    from ..data.images import find

    for path in paths:
        files = list(find(path))
        if not files:
            report(f"folder {path} holds no images.")
        yield from files


def clip_files(paths: Iterable[str | Path]) -> Iterator[Path]:
    """Yield the clips in ``paths``: files, folders of frames, and the clips in other folders.

    A folder of animations (GIF, WebP, APNG) is a folder of clips.
    """
    from ..data.video import frame_files

    for path in map(Path, paths):
        if not path.is_dir() or any(file.suffix.lower() not in ANIMATED for file in frame_files(path)):
            yield path
            continue
        inside = [entry for entry in sorted(path.iterdir()) if not entry.name.startswith(".")]
        if not inside:
            report(f"folder {path} holds no clips.")
        yield from clip_files(inside)


def read_each(files: Iterable[Path], read: Callable[[Path], Array]) -> Iterator[tuple[Path, Array]]:
    """Yield each file with its pixels. Files that cannot be read are reported on stderr."""
    for file in files:
        try:
            yield file, read(file)
        except DataError as error:
            report(str(error))


def report(sentence: str) -> None:
    """Print a warning to stderr."""
    print(f"minires predict: {printable(sentence)}", file=sys.stderr)


def save_drawings(results: Iterable[Result], folder: str | None) -> Iterator[Result]:
    """Yield the results, and write their drawings to ``folder``, several frames as a GIF, each under its own name."""
    taken: set[Path] = set()
    for result in results:
        if folder is not None and result.drawing:
            first, *others = result.drawing
            ending, number = (".gif" if others else ".png"), 1
            path = Path(folder, result.path.stem + ending)
            while path in taken:
                number += 1
                path = Path(folder, f"{result.path.stem}_{number}{ending}")
            taken.add(path)
            options: dict[str, Any] = (
                {"append_images": others, "duration": FRAME_MILLISECONDS, "loop": 0} if others else {}
            )
            file = io.BytesIO()
            first.save(file, format=ending[1:], save_all=bool(others), **options)
            write_atomically(path, file.getvalue())
        yield result._replace(drawing=())


def write(out: Path, results: Sequence[Result], rows: Sequence[Row], run: Run) -> None:
    """Write the rows as CSV, or as COCO's results, whose images are numbered by the files' names or order."""
    if out.suffix.lower() != ".json":
        names = list(rows[0]) if rows else ["file", "class", "score", *SIDES]
        write_table(out, names, rows, sys.getfilesystemencodeerrors())  # exact file names
        return
    stems = [result.path.stem for result in results]
    numbered = all(stem.isascii() and stem.isdigit() for stem in stems) and len({*map(int, stems)}) == len(stems)
    boxes = []
    for order, result in enumerate(results, start=1):
        image = int(result.path.stem) if numbered else order
        for row in result.rows:
            x1, y1, x2, y2 = (row[side] for side in SIDES)
            box: Row = {"image_id": image, "category_id": run.category_ids[run.classes.index(row["class"])]}
            box |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "score": row["score"], "file_name": printable(row["file"])}
            box |= {name: row[name] for name in ("frame", "track") if name in row}
            boxes.append(box)
    write_json(out, boxes)


def cell(name: str, value: Any) -> str:
    """Format a cell of the printed table: pixels with one decimal, other floats as percentages."""
    if isinstance(value, float):
        return f"{value:.1f}" if name in SIDES else percent(value)
    return printable(str(value))
