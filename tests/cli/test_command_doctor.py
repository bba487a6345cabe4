"""``minires doctor`` and ``show_config()``: facts about this machine, and advice if something is wrong."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

import minires as mr
from minires.bench import machine as bench_machine
from minires.bench.machine import Peak
from minires.cli import doctor
from minires.core import dispatch

PEAK = Peak(200e9, 40e9)


@pytest.fixture(autouse=True)
def no_data_folder(monkeypatch):
    monkeypatch.delenv("MINIRES_DATA", raising=False)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setattr("minires.bench.machine.cache_folder", lambda: tmp_path_factory.mktemp("cache"))


def facts_and_advice():
    report = doctor.examine()
    return dict(report.facts), " ".join(report.advice)


def test_the_report(minires, capsys):
    result = minires("doctor")
    assert result.status == 0 and result.err == ""
    for text in (mr.__version__, np.__version__, "python", "CPU", "BLAS", "GFLOP/s", "GPU", "digits", "to improve"):
        assert text in result.out
    mr.show_config()
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[:11]] == [
        line.split()[0] for line in result.out.splitlines()[:11]
    ]


def test_the_speed_and_the_cpu_are_plausible():
    assert 1e8 < doctor.matrix_product_speed(256) < 1e14
    assert bench_machine.vector_bits() in (128, 256, 512) and doctor.usable_cores() >= 1 and bench_machine.cpu_name()


@pytest.mark.parametrize(
    ("found", "bits"),
    [(["X86_V4"], 512), (["AVX2", "AVX512_SKX"], 512), (["AVX2", "FMA3"], 256), (["X86_V3"], 256), (["ASIMD"], 128)],
)
def test_vector_width(monkeypatch, found, bits):
    config = {"SIMD Extensions": {"baseline": ["SSE", "SSE2"], "found": found}}
    monkeypatch.setattr(bench_machine, "_numpy_config", lambda: config)
    assert bench_machine.vector_bits() == bits


def test_a_blas_that_takes_the_cpu_for_a_lesser_one(monkeypatch):
    monkeypatch.setattr(doctor, "vector_bits", lambda: 512)
    monkeypatch.setattr(doctor, "usable_cores", lambda: 4)
    monkeypatch.setattr(doctor, "blas_in_use", lambda: bench_machine.Blas("openblas", "0.3", "Haswell", 1))
    facts, advice = facts_and_advice()
    assert facts["BLAS"] == "openblas 0.3, kernels for Haswell, 1 thread"
    assert "OPENBLAS_CORETYPE=SkylakeX" in advice and "BLAS uses 1 of 4 cores" in advice


@pytest.fixture
def machine(monkeypatch):
    """Two cores of 256 bits that reach 200 GFLOP/s, and NumPy 180 of them; the function changes what is given."""

    def become(bits=256, product=180e9, core="Haswell", peak=PEAK, processor="x86_64"):
        monkeypatch.setattr(doctor, "vector_bits", lambda: bits)
        monkeypatch.setattr(doctor, "usable_cores", lambda: 2)
        monkeypatch.setattr(doctor, "get_num_threads", lambda: 2)
        monkeypatch.setattr(doctor, "blas_in_use", lambda: bench_machine.Blas("openblas", "0.3", core, 2))
        monkeypatch.setattr(doctor, "matrix_product_speed", lambda: product)
        monkeypatch.setattr(doctor, "measure_peak", lambda threads: peak)
        monkeypatch.setattr(doctor, "kernels_load", lambda: peak is not None)
        monkeypatch.setattr(doctor.platform, "machine", lambda: processor)
        monkeypatch.setattr(doctor.shutil, "which", lambda program: None)
        monkeypatch.setattr(doctor.importlib, "import_module", lambda name: None)

    return become


@pytest.mark.parametrize("found", [{}, {"bits": 512, "core": "SkylakeX"}, {"product": 121e9}])
def test_nothing_to_mend(machine, found):
    machine(**found)
    report = doctor.examine()
    assert not report.advice and str(report).endswith("\nnothing to improve")


def test_both_peaks_and_what_the_matrix_product_reaches(machine):
    machine()
    facts, _ = facts_and_advice()
    assert facts["engine"] == "fast, through Numba, 2 threads"
    assert facts["peak, 1 thread"] == facts["peak, 2 threads"] == "200 GFLOP/s, 40.0 GB/s"
    assert facts["matrix product"] == "180 GFLOP/s, 1024x1024, float32, 90% of the peak"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"core": "Nehalem"}, "OPENBLAS_CORETYPE=Haswell before Python starts (or Zen)"),
        ({"core": "Haswell"}, "OPENBLAS_CORETYPE=Zen before Python starts and compare"),
        ({"core": "ZEN"}, "OPENBLAS_CORETYPE=Haswell before Python starts and compare"),
        ({"bits": 512, "core": "SkylakeX"}, "OPENBLAS_CORETYPE=Cooperlake before Python starts (or SapphireRapids)"),
        ({"bits": 128, "core": "Nehalem"}, "try a newer NumPy"),
        ({"bits": 128, "core": "neoversen1", "processor": "aarch64"}, "try a newer NumPy"),
    ],
)
def test_a_slow_matrix_product(machine, found, said):
    machine(product=100e9, **found)
    _, advice = facts_and_advice()
    assert f"reaches 50% of the peak with OpenBLAS's kernels for {found['core']}" in advice and said in advice


def test_numba_that_does_not_compile(machine):
    machine(peak=None)
    facts, advice = facts_and_advice()
    assert facts["engine"] == "the textbook only" and "unset NUMBA_DISABLE_JIT" in advice
    assert facts["matrix product"] == "180 GFLOP/s, 1024x1024, float32"
    assert not [name for name in facts if name.startswith("peak")]


def test_kernels_that_cannot_be_imported(monkeypatch):
    """The error names `minires doctor`, so that must not fail in the same way."""
    monkeypatch.setitem(dispatch._rooms, "cpu", "minires.kernels.missing")
    monkeypatch.setattr(bench_machine, "_measured", {})
    facts, advice = facts_and_advice()
    assert facts["engine"] == "the textbook only" and "The kernels could not be loaded" in advice
    assert "see what `python -c 'import minires.kernels.cpu'` says" in advice
    assert not [name for name in facts if name.startswith("peak")]


def test_the_blas_of_numpy_is_found_among_others(monkeypatch):
    def library(path, version):
        found = {"user_api": "blas", "internal_api": "openblas", "filepath": path, "version": version}
        return {**found, "architecture": "Zen", "num_threads": 3}

    libraries = [library("/v/scipy.libs/lib.so", "1"), library("/v/numpy.libs/lib.so", "2")]
    for order in (libraries, libraries[::-1]):
        monkeypatch.setattr(bench_machine, "threadpool_info", lambda order=order: order)
        assert str(bench_machine.blas_in_use()) == "openblas 2, kernels for Zen, 3 threads"


def test_numpy_says_what_it_was_built_with_if_its_blas_is_unknown(monkeypatch):
    monkeypatch.setattr(bench_machine, "threadpool_info", list)
    blas = bench_machine.blas_in_use()
    assert blas.name and blas.threads == 0 and str(blas) == f"{blas.name} {blas.version}"


@pytest.mark.parametrize(("version", "said"), [(None, "is not installed"), ("0.50", "cannot be imported (too old)")])
def test_without_numba(monkeypatch, version, said):
    def fail(name):
        raise ImportError("too old")

    monkeypatch.setattr(doctor.importlib, "import_module", fail)
    monkeypatch.setattr(doctor, "kernels_load", lambda: False)
    monkeypatch.setattr(doctor, "version_of", lambda package: version if package == "numba" else None)
    monkeypatch.setattr(doctor, "measure_peak", lambda threads: None)
    facts, advice = facts_and_advice()
    assert facts["engine"] == "the textbook only" and f"Numba {said}" in advice


def fake_cupy(monkeypatch, **runtime):
    cupy = SimpleNamespace(__version__="13.6.0", cuda=SimpleNamespace(runtime=SimpleNamespace(**runtime)))
    monkeypatch.setitem(sys.modules, "cupy", cupy)


def test_a_gpu(monkeypatch):
    gpu = {"name": b"NVIDIA H200", "totalGlobalMem": 139 * 2**30}
    found = {"getDeviceProperties": lambda number: gpu, "runtimeGetVersion": lambda: 13010}
    fake_cupy(monkeypatch, getDeviceCount=lambda: 1, **found)
    facts, _ = facts_and_advice()
    assert facts["GPU"] == "NVIDIA H200, 139 GiB, CUDA 13.1, CuPy 13.6.0"


def test_a_gpu_that_cannot_be_used(monkeypatch):
    def fail():
        raise RuntimeError("driver\n is too old")

    fake_cupy(monkeypatch, getDeviceCount=fail)
    monkeypatch.setattr(doctor.shutil, "which", lambda program: "/usr/bin/nvidia-smi")
    facts, advice = facts_and_advice()
    assert facts["GPU"].startswith("not used") and "CuPy 13.6.0 reports: driver is too old." in facts["GPU"]
    assert (
        "There is an NVIDIA driver, but device 'cuda' cannot be used: CuPy 13.6.0 reports: driver is too old." in advice
    )


def test_a_driver_without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr(doctor.shutil, "which", lambda program: "/usr/bin/nvidia-smi")
    facts, advice = facts_and_advice()
    assert facts["GPU"].startswith("not used: device 'cuda' needs CuPy, which is not installed")
    assert "There is an NVIDIA driver, but device 'cuda' needs CuPy" in advice and "minires[cuda13]" in advice


def test_the_data_sets_that_are_here(monkeypatch, tmp_path):
    monkeypatch.setattr("minires.data.places.cache_folder", lambda: tmp_path)
    assert facts_and_advice()[0]["data sets"] == "digits, shapes; not here: mnist, fashion_mnist, cifar10, cifar100"
    (tmp_path / "cifar-100-binary").mkdir()
    for name in ("train.bin", "test.bin"):
        (tmp_path / "cifar-100-binary" / name).touch()
    assert facts_and_advice()[0]["data sets"] == "digits, cifar100, shapes; not here: mnist, fashion_mnist, cifar10"


def test_the_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("MINIRES_DATA", str(tmp_path))
    assert facts_and_advice()[0]["MINIRES_DATA"] == f"{tmp_path}: empty"
    (tmp_path / "cifar-10-batches-bin").mkdir()
    assert facts_and_advice()[0]["MINIRES_DATA"] == f"{tmp_path}: cifar-10-batches-bin"
    monkeypatch.setenv("MINIRES_DATA", str(tmp_path / "missing"))
    facts, advice = facts_and_advice()
    assert "this folder does not exist" in facts["MINIRES_DATA"] and "which is not a folder" in advice
