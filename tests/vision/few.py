"""Data sets of a few small images for each task, on which a run takes a second or two."""

from functools import partial

import minires as mr
from minires.training.task import find

OPTIONS = {"train": 20, "test": 6}
SIZES = {"detection": {"size": 48}, "segmentation": {"size": 32}, "video": {"size": 32}}
MODELS = {"detection": "fcos_resnet8", "segmentation": "deeplabv3plus_resnet8", "video": "tsm_resnet8"}


def register(monkeypatch, name="few"):
    """Give each task, and classification, the data set ``name``."""
    monkeypatch.setitem(mr.data.DATASETS, name, partial(mr.data.shapes, **OPTIONS))
    for task, size in SIZES.items():
        monkeypatch.setitem(find(task).data_sets, name, partial(mr.data.shapes, task=task, **OPTIONS, **size))
