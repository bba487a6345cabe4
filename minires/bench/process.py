"""A contender's process, from the side of who asks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any


class Process:
    """It answers requests until it is ended (see worker.py); used in a ``with``, it ends there."""

    def __init__(self, contender: str, threads: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "minires.bench.worker", contender, str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )  # fmt: skip

    def ask(self, **request: Any) -> dict[str, Any]:
        """Its answer to a request; ``{"error": ...}`` if it has died."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        return json.loads(line) if line else {"error": "the process ended"}

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()  # closes both pipes as well

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *error: object) -> None:
        self.end()
