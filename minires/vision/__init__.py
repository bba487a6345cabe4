"""Beyond one label for an image: boxes, and how detections and maps of classes are scored.

Boxes are rows x1, y1, x2, y2 in pixels: left, top, right and bottom, where right and bottom are exclusive.

>>> from minires import vision
>>> vision.box_iou([[0, 0, 10, 10]], [[0, 0, 10, 5], [20, 20, 30, 30]])
array([[0.5, 0. ]])
"""

from .assignment import assign, fcos_loss, locations
from .boxes import box_iou, nms
from .coco import coco_map
from .confusion import class_iou, confusion_matrix, dice, mean_iou, pixel_accuracy
from .decoding import detect
from .deeplab import deeplabv3plus, fcn
from .dice_losses import binary_dice_loss, dice_loss
from .fcos import fcos
from .temporal import r2plus1d, tsm, tsn
from .tracking import Tracker, mota

__all__ = [
    "Tracker", "assign", "binary_dice_loss", "box_iou", "class_iou", "coco_map", "confusion_matrix",
    "deeplabv3plus", "detect", "dice", "dice_loss", "fcn", "fcos", "fcos_loss", "locations", "mean_iou", "mota", "nms",
    "pixel_accuracy", "r2plus1d", "tsm", "tsn",
]  # fmt: skip
