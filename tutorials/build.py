"""Make the notebooks: execute each NN_name.py here, and write NN_name.ipynb next to it.

    python tutorials/build.py                 build all of them
    python tutorials/build.py 1 4             build only these two
    python tutorials/build.py --check         execute them, check the time they take, and write nothing

Needs ``pip install -e '.[tutorials]'``. The exit status is 1 if a cell fails or prints a warning.
"""

import argparse
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from minires.course.release import as_notebook

HERE = Path(__file__).parent
BUDGET = 90.0  # seconds, on two idle cores
PATIENCE = 3.0  # a slow or busy machine may take this many times as long


def execute(notebook: nbformat.NotebookNode) -> float:
    """Run all cells in place and return the time in seconds. A cell that fails raises CellExecutionError."""
    start = time.perf_counter()
    NotebookClient(
        notebook,
        timeout=PATIENCE * BUDGET,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(HERE)}},
    ).execute()
    return time.perf_counter() - start


def warnings_of(notebook: nbformat.NotebookNode) -> list[str]:
    """Return the texts that the cells wrote to stderr."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", type=int, help="the numbers of tutorials; by default all")
    parser.add_argument("--check", action="store_true", help="execute only, and write nothing")
    arguments = parser.parse_args()
    failed = False
    for source in sorted(HERE.glob("[0-9][0-9]_*.py")):
        if arguments.numbers and int(source.name[:2]) not in arguments.numbers:
            continue
        notebook = nbformat.reads(as_notebook(source.read_text(encoding="utf-8")), as_version=4)
        seconds = execute(notebook)
        print(f"{source.stem}: {seconds:.0f} s of {BUDGET:.0f}", flush=True)
        for text in warnings_of(notebook):
            print(f"{source.stem} prints a warning: {text}", file=sys.stderr)
            failed = True
        if arguments.check:
            failed |= seconds > PATIENCE * BUDGET
        else:
            nbformat.write(notebook, source.with_suffix(".ipynb"))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
