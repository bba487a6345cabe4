"""A Jupyter notebook from a Python file in percent format, in which alone it is edited.

A cell begins with a line ``# %%``, a cell of text with ``# %% [markdown]``, and then each of its lines with ``#``. That
is Jupytext's format, so that Jupytext, VS Code and others open the source as well; what is needed here is a few lines.
"""

from __future__ import annotations

import json
import re
from typing import Any


def as_notebook(source: str) -> str:
    r"""The notebook (nbformat 4.5) as the text of its file, without results.

    >>> import json
    >>> cells = json.loads(as_notebook("# %% [markdown]\n# # Title\n\n# %%\n1 + 1\n"))["cells"]
    >>> [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    [('markdown', '# Title'), ('code', '1 + 1')]
    """
    cells = []
    for number, part in enumerate(re.split(r"^# %%", source, flags=re.MULTILINE)[1:], start=1):
        kind, _, body = part.partition("\n")
        lines = body.strip("\n").splitlines(keepends=True)
        cell: dict[str, Any] = {"id": f"cell-{number}", "metadata": {}}
        if kind.strip() == "[markdown]":
            text = [line.removeprefix("# ") if line.strip() != "#" else "\n" for line in lines]
            cells.append({"cell_type": "markdown", **cell, "source": text})
        else:
            cells.append({"cell_type": "code", **cell, "execution_count": None, "outputs": [], "source": lines})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    document = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
