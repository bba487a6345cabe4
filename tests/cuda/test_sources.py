"""Every CUDA source is compiled by NVRTC, which needs no GPU, for GPUs of several generations."""

from __future__ import annotations

import re

import pytest

launch = pytest.importorskip("minires.kernels.cuda.launch", reason="CuPy is not installed")
FOLDER, OPTIONS, SOURCES, source = launch.FOLDER, launch.OPTIONS, launch.SOURCES, launch.source
ARCHITECTURES = ("sm_75", "sm_90", "sm_100")  # Turing, Hopper, Blackwell


@pytest.fixture(scope="module")
def nvrtc():
    """NVRTC through CuPy's own binding."""
    try:
        from cupy.cuda import nvrtc

        nvrtc.getVersion()
    except (RuntimeError, ImportError, OSError) as error:
        pytest.skip(f"no NVRTC to compile with: {error}")
    return nvrtc


def compiled(nvrtc, name, architecture):
    program = nvrtc.createProgram(source(name), f"{name}.cu", (), ())
    try:
        nvrtc.compileProgram(program, (*OPTIONS, f"--gpu-architecture={architecture}"))
        return nvrtc.getCUBIN(program)
    except Exception:
        print(nvrtc.getProgramLog(program))
        raise
    finally:
        nvrtc.destroyProgram(program)


@pytest.mark.nvrtc
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", SOURCES)
def test_a_source_compiles(nvrtc, name, architecture):
    assert compiled(nvrtc, name, architecture)[:4] == b"\x7fELF"


def test_all_sources_are_listed():
    assert set(SOURCES) == {path.stem for path in FOLDER.glob("*.cu")}


@pytest.mark.parametrize("name", SOURCES)
def test_every_kernel_of_a_source_is_launched(name):
    """And every kernel that is launched exists."""
    code = "".join(path.read_text() for path in FOLDER.glob("*.py"))
    launched = {kernel for where, kernel in re.findall(r'(?:launch|for_each)\("(\w+)", "(\w+)"', code) if where == name}
    if name == "optim":
        launched |= set(re.findall(r'_launch\("(\w+)"', code))
    assert launched == set(re.findall(r"__global__ void (\w+)", source(name)))


def test_a_parameter_table_fits_into_an_argument():
    """CUDA before 12.1, and GPUs before Volta, take 4 KB."""
    from minires.kernels.cuda import optim

    assert optim.ARGUMENT.itemsize <= 4096 - 64
    assert f"TENSORS = {optim.TENSORS};" in source("optim")
