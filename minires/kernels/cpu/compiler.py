"""Compile kernels with Numba, once for each machine; the results are kept on disk if a folder is writable."""

from __future__ import annotations

import gc
import hashlib
import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import config
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler

from .. import ahead, on_compile


class _Code(JITCodeLibrary):  # type: ignore[misc]
    """The code of a kernel and of the functions that are inlined in it, which LLVM optimises as a whole.

    Numba would first optimise each function by itself, which takes time and makes no kernel faster.
    """

    def _optimize_functions(self, module: Any) -> None:
        pass


class _InlinedCode(_Code):
    """The code of a function that is inlined. It is optimised and becomes machine code as a part of kernels only."""

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalized = True

    @property
    def codegen(self) -> Any:
        return self  # Numba will call its set_env

    def set_env(self, name: str, environment: Any) -> None:
        """Do nothing: without machine code, there is no environment to set."""


class _Compiler(Compiler):  # type: ignore[misc]
    """Numba's compiler, for these two kinds of code."""

    def compile_extra(self, function: Any) -> Any:
        """Compile without collecting garbage: most objects are needed until the end, and searching takes a while."""
        collects = gc.isenabled()
        gc.disable()
        try:
            return super().compile_extra(function)
        finally:
            if collects:
                gc.enable()

    def define_pipelines(self) -> Any:
        state = self.state
        code = _InlinedCode if state.flags.forceinline else _Code
        state.library = code(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        return super().define_pipelines()


_OPTIONS: dict[str, Any] = {
    "nogil": True,
    # Kernels do not allocate memory, so they do not need Numba's reference counts, which cost time.
    "_nrt": False,
    # A product and a sum may become one multiply-add. Nothing else may be rewritten: (0.001 * g) * g is finite where
    # 0.001 * (g * g) is not, and 1 / x may underflow where m / x does not.
    "fastmath": {"contract"},
    "error_model": "numpy",
    "boundscheck": False,
    "no_cfunc_wrapper": True,  # only Python calls kernels, not C
    "pipeline_class": _Compiler,
}
_SOURCES = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
).hexdigest()
TEMPORARY = "minires-kernels-"  # the name of a temporary folder with compiled kernels, before the number of the user
_folder: str | None = None
_locks: list[tuple[str, str]] = []  # at most one: the variant of a kernel that this process is compiling


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function that kernels use. It is inlined, as a call would take longer than the function itself."""
    return njit(forceinline=True, no_cpython_wrapper=True, **_OPTIONS)(function)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile at the first call; later processes load the result. Kernels release the GIL and do not check bounds."""
    global _folder
    compiled = _with_cache(function)
    store = compiled._cache
    _folder = store.cache_path
    # Numba would only check the date of the function's own file, but the function also uses code from other files.
    cache_file: Any = getattr(store, "_cache_file", None)
    if hasattr(cache_file, "_source_stamp"):
        cache_file._source_stamp = _SOURCES
        cache_file._load_index = _or_else(dict, cache_file._load_index)
        cache_file.save = partial(_save, cache_file)
    store.load_overload = partial(_load, store, f"{function.__module__}.{function.__qualname__}")
    store.save_overload = partial(_save_overload, _or_else(lambda: None, store.save_overload))  # the disk may be full
    return compiled


def cache_folder() -> Path | None:
    """Return the folder with compiled kernels, or None if no folder is writable."""
    return None if _folder is None else Path(_folder)


def _with_cache(function: Callable[..., Any]) -> Any:
    """Compile with a cache in the first folder that is writable.

    Numba tries NUMBA_CACHE_DIR, the folder of this file and the user's cache folder; a temporary folder is the last.
    """
    with suppress(RuntimeError):  # "cannot cache function"
        return njit(cache=True, **_OPTIONS)(function)
    given, config.CACHE_DIR = config.CACHE_DIR, str(_temporary_folder() or "")
    try:
        with suppress(RuntimeError):
            return njit(cache=True, **_OPTIONS)(function)
    finally:
        config.CACHE_DIR = given
    return njit(**_OPTIONS)(function)


def _temporary_folder() -> Path | None:
    """Return a temporary folder in which only this user can write: the files in it are run. None if that fails."""
    user = os.getuid() if hasattr(os, "getuid") else None  # on Windows, each user has other temporary files
    try:
        folder = Path(tempfile.gettempdir(), f"{TEMPORARY}{user}")
        folder.mkdir(mode=0o700, exist_ok=True)
        about = folder.lstat()
    except OSError:
        return None
    own = user is None or (about.st_uid == user and not about.st_mode & 0o022)
    return folder if stat.S_ISDIR(about.st_mode) and own else None


def _or_else(default: Callable[[], Any], access: Callable[..., Any]) -> Callable[..., Any]:
    """Make ``access`` to the cache return ``default()`` if it fails.

    A file from another version may name classes that no longer exist, and pickle can then raise almost any exception.
    """

    def guarded(*arguments: Any) -> Any:
        try:
            return access(*arguments)
        except Exception:
            return default()

    return guarded


def _load(store: Any, name: str, signature: Any, context: Any) -> Any:
    """Load one variant of a kernel. If there is none that can be read, return None; the kernel is then compiled.

    Numba's method would import everything that a compilation needs, which takes half a second.
    """
    load = _or_else(lambda: None, getattr(store, "_load_overload", store.load_overload))
    found = load(signature, context)
    if found is not None:
        return found
    for tell in on_compile:
        tell()
    folder = store.cache_path
    if folder is None:
        return None
    if name.startswith(__package__):
        ahead.start(folder)
    _free_lock()  # if the previous compilation failed
    variant = f"{name} {signature}"
    if ahead.lock(folder, variant):
        _locks.append((folder, variant))
    found = load(signature, context)  # another process may have compiled it meanwhile
    if found is not None:
        _free_lock()
    return found


def _save_overload(save: Callable[..., Any], signature: Any, result: Any) -> None:
    save(signature, result)  # it never fails
    _free_lock()


def _free_lock() -> None:
    while _locks:
        ahead.free(*_locks.pop())


def _save(cache_file: Any, key: Any, data: Any) -> None:
    """Save one variant of a kernel, as Numba's method does, but in a file whose name depends on the variant.

    Numba numbers the files 1, 2, ..., so two processes that compile different variants at the same time would choose
    the same name, and later processes would load one variant for the other.
    """
    name = f"{cache_file._index_name}.{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"
    cache_file._save_data(name, data)
    index = cache_file._cache_path, cache_file._index_name
    ahead.lock(*index)  # or another process could add a variant between reading and writing, which would be lost
    try:
        cache_file._save_index({**cache_file._load_index(), key: name})
    finally:
        ahead.free(*index)
