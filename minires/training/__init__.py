"""The training loop, run folders and their figures. ``import minires`` does not import this package."""

from .checkpoint import StopSignals
from .classification import Evaluation, evaluate
from .comparison import compare
from .config import Config, read_settings
from .folder import Run, load_run
from .gradients import GradientLog
from .loop import train
from .progress import Progress
from .task import Task

__all__ = [
    "Config", "Evaluation", "GradientLog", "Progress", "Run", "StopSignals", "compare", "evaluate", "load_run",
    "Task", "read_settings", "train",
]  # fmt: skip
