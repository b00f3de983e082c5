"""Stage verify: whether shards still hold what was written to them."""

import argparse
from pathlib import Path

from noctact.errors import NoctactError
from noctact.shards import verify


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of the stage."""
    parser.add_argument("shards", type=Path, nargs="+", help="HDF5 files")


def run(args: argparse.Namespace) -> None:
    """Run the stage: a line for each damaged shard. Raises NoctactError when there is one."""
    faults = []
    for shard in args.shards:
        try:
            verify(shard)
        except NoctactError as error:
            faults.append(str(error))
    if faults:
        raise NoctactError("; ".join(faults))
    print(f"{len(args.shards)} shards hold what was written to them")
