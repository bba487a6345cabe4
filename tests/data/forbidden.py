"""Simulated files without read permission, because the tests may run as root, who can read everything."""

import builtins
import os


def forbid_opening(monkeypatch, word):
    """Make ``open`` fail for every file with ``word`` in its name, as it does without read permission."""
    real = builtins.open

    def guarded(file, *more, **options):
        if not isinstance(file, int) and word in os.path.basename(file):
            raise PermissionError(13, "Permission denied", os.fspath(file))
        return real(file, *more, **options)

    monkeypatch.setattr(builtins, "open", guarded)
