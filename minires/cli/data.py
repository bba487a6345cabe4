"""``minires data`` lists, checks and downloads data sets."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Annotated

import typer

from .. import data as datasets
from ..data import PUBLISHED, names, published
from ..data.places import find, is_here, places
from ..errors import counted
from .output import make_console, print_table, printable

data = typer.Typer(help="List, check and download data sets.")
INCLUDED = {"digits": ("CC BY 4.0", "comes with scikit-learn"), "shapes": ("-", "drawn when needed")}
Name = Annotated[str, typer.Argument(metavar="NAME", help="A data set, as named by `minires data list`.")]


@data.command("list")
def list_() -> None:
    """List the data sets and where they are on this machine."""
    rows = []
    for name in names():
        if name in PUBLISHED:
            files = PUBLISHED[name]
            where = printable(str(find(files))) if is_here(files) else "not here"
            rows.append([name, f"{files.size / 1e6:.0f} MB", files.licence, where])
        else:
            rows.append([name, "-", *INCLUDED.get(name, ("-", "made when needed"))])
    print_table(["name", ">download", "licence", "where"], rows)
    print(f"\nsearched: {printable(', '.join(map(str, places())))}")


@data.command()
def check(name: Name) -> None:
    """Check the files of a data set against the checksums of their publishers."""
    from ..data.fetch import check as check_sums

    folder, unknown = check_sums(published(name))
    dataset = datasets.load(name)
    print(f"{name} in {printable(str(folder))}")
    print(f"{counted(len(dataset.train), 'image')} to train, {len(dataset.test):,} to test, all labels valid")
    print("all checksums match" if not unknown else f"no checksum was published for {counted(unknown, 'file')}")


@data.command()
def fetch(name: Name) -> None:
    """Download a data set to MINIRES_DATA or, if that is not set, to the user's cache folder.

    An interrupted download continues where it stopped. Checksums are verified. If a server stops sending or is
    too slow, the next one is tried.
    """
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from ..data.fetch import fetch as fetch_files

    source = published(name)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = make_console()
    bars = Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
    with nullcontext() if bars.disable else bars:  # older versions of Rich would print an empty line
        tasks = {archive.file: bars.add_task(archive.file, total=archive.size) for archive in source.archives}
        folder = fetch_files(
            source,
            progress=lambda file, done, _: bars.update(tasks[file], completed=done),
            say=lambda what: console.print(f"fetching {printable(what)}", soft_wrap=True),
        )
    print(f"{name} is in {printable(str(folder))}")
