"""phlox report and phlox compare: runs looked at afterwards."""

from __future__ import annotations

from argparse import Namespace

from phlox.loop import compare, report


def run_report(options: Namespace) -> None:
    """Write the page of a run.

    Raises:
        FileError: the run cannot be read, or the page cannot be written.
    """
    print(f"wrote {report(options.folder, options.out, classes=options.classes)}")


def run_compare(options: Namespace) -> None:
    """Print runs beside each other, and write their page where one is wanted.

    Raises:
        FileError: a run cannot be read, or the page cannot be written.
    """
    found = compare(*options.folders)
    print(found)
    if options.out is not None:
        print(f"\nwrote {found.to_html(options.out)}")
