"""``cupy.RawModule`` on the CPU: a C++ compiler compiles the CUDA source, and its kernels run on NumPy's memory."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

HEADER = Path(__file__).with_name("cuda_on_cpu.h")
COMPILER = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
SIGNATURE = re.compile(r'extern "C" __global__ void (\w+)\(([^)]*)\)')
RUN = """
extern "C" int run_{0}(unsigned x, unsigned y, unsigned z, unsigned threads, int barriers, void** arguments)
{{
    return on_cpu::launch({0}, {{x, y, z}}, threads, barriers, arguments);
}}
"""


def compiled(code: str) -> ctypes.PyDLL:
    """The compiled library of a source; it is reused if an earlier run compiled it."""
    kernels = [name for name, _ in SIGNATURE.findall(code)]
    text = "\n".join([HEADER.read_text(), code, *map(RUN.format, kernels)])
    path = Path(tempfile.gettempdir(), f"minires-cuda-on-cpu-{hashlib.sha256(text.encode()).hexdigest()[:24]}.so")
    if not path.exists():
        if COMPILER is None:
            raise RuntimeError("the stand-in for CuPy needs a C++ compiler (g++) for the CUDA sources")
        with tempfile.TemporaryDirectory() as folder:
            source, library = Path(folder, "kernels.cpp"), Path(folder, "kernels.so")
            source.write_text(text)
            options = ["-std=c++17", "-O2", "-shared", "-fPIC"]
            subprocess.run([COMPILER, *options, str(source), "-o", str(library)], check=True)
            os.replace(shutil.copy(library, f"{path}.{os.getpid()}"), path)
    return ctypes.PyDLL(str(path))  # it keeps the GIL, because fibers must stay in one thread


class RawModule:
    """It is compiled when its first kernel is requested, like CuPy's."""

    def __init__(self, *, code: str, options: tuple[str, ...] = ()) -> None:
        self._code, self._library = code, None

    def get_function(self, name: str) -> Kernel:
        self._library = self._library or compiled(self._code)
        return Kernel(self._library, name, dict(SIGNATURE.findall(self._code))[name], "__syncthreads" in self._code)


class Kernel:
    def __init__(self, library: ctypes.PyDLL, name: str, parameters: str, barriers: bool) -> None:
        self._run, self._barriers, self.name = library[f"run_{name}"], barriers, name
        self._kinds = [" ".join(parameter.split()[:-1]) for parameter in parameters.split(",")]

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], arguments: tuple) -> None:
        from . import _do, ndarray

        assert len(block) == 1
        assert len(arguments) == len(self._kinds), f"{self.name} takes {len(self._kinds)}, not {len(arguments)}"
        assert all(size > 0 for size in grid), grid
        assert len(grid) < 2 or all(size < 1 << 16 for size in grid[1:]), grid
        values, places, kept = [], (ctypes.c_void_p * len(arguments))(), []
        for i, (argument, kind) in enumerate(zip(arguments, self._kinds, strict=True)):
            if isinstance(argument, ndarray):
                assert argument.flags.c_contiguous or argument.flags.f_contiguous or self.name in STRIDED, self.name
                check_kind(self.name, kind, argument.dtype, pointer=True)
                value = np.array([argument.data.ptr], np.uint64)
            else:
                value = np.atleast_1d(argument)  # a number, or a struct by value
                check_kind(self.name, kind, value.dtype, pointer=False)
            kept.append(argument)
            values.append(value)
            places[i] = value.ctypes.data
        x, y, z = (*grid, 1, 1)[:3]

        def run() -> None:
            assert values is not None
            assert kept is not None
            assert self._run(x, y, z, block[0], self._barriers, places) == 0, f"{self.name}: a barrier for some only"

        _do(run)


STRIDED = ("arrange", "product")  # kernels that get strides; all others need contiguous memory
TYPES = {
    "float": np.float32, "int": np.int32, "unsigned char": np.uint8, "long long": np.int64, "bool": np.bool_,
}  # fmt: skip


def check_kind(kernel: str, kind: str, dtype: np.dtype, pointer: bool) -> None:
    """Raise an error for a number of another type, which a GPU would silently misread."""
    bare = kind.replace("const", "").strip()
    if bare.endswith("*"):
        wanted = TYPES[bare.rstrip("* ")]
        assert (pointer and dtype == wanted) or (not pointer and dtype == np.uintp), f"{kernel}: {kind} gets {dtype}"
    else:
        assert not pointer, f"{kernel}: {kind} gets an array"
        assert bare not in TYPES or dtype == TYPES[bare], f"{kernel}: {kind} gets {dtype}"
