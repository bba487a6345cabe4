"""Make the notebooks: each NN_name.py here is executed, and written beside itself as NN_name.ipynb.

    python tutorials/build.py                 all of them
    python tutorials/build.py 1 4             those two
    python tutorials/build.py --check         execute them, hold them to their budget of time, and write nothing

Needs ``pip install -e '.[tutorials]'``. A cell that fails or prints a warning ends it with status 1.
"""

import argparse
import sys
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
BUDGET = 90.0  # seconds, on two cores that do nothing else
PATIENCE = 3.0  # how many times that a slow or busy machine, such as one for tests, may take


def read(source: Path) -> nbformat.NotebookNode:
    """The notebook of a source, not executed. Its cells are numbered, so that a rebuilt file has no new names in it."""
    notebook = jupytext.read(source)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = nbformat.from_dict({"kernelspec": kernel, "language_info": {"name": "python"}})
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id, cell.metadata = f"cell-{number}", nbformat.NotebookNode()
    return notebook


def execute(notebook: nbformat.NotebookNode) -> float:
    """Run all cells in place, and return the seconds that it took. A cell that fails raises CellExecutionError."""
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
    """What its cells wrote to stderr."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", nargs="*", type=int, help="of the tutorials; all without")
    parser.add_argument("--check", action="store_true", help="execute, and write nothing")
    arguments = parser.parse_args()
    failed = False
    for source in sorted(HERE.glob("[0-9][0-9]_*.py")):
        if arguments.numbers and int(source.name[:2]) not in arguments.numbers:
            continue
        notebook = read(source)
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
