"""Get the clips: download a Kaggle dataset, unpack a local archive or generate a set."""

import argparse
import re
from pathlib import Path

from noctact.arguments import positive
from noctact.atomic import discard
from noctact.clips import clip_folder
from noctact.download import download
from noctact.errors import NoctactError
from noctact.unpack import BrokenArchive, check_sha256, unpack

KAGGLE = "https://www.kaggle.com/api/v1/datasets/download"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare one sub-subcommand a source; each makes the folder of clips `--output`."""
    sources = parser.add_subparsers(metavar="source", required=True)

    kaggle = sources.add_parser("kaggle", help="download a public Kaggle dataset, without a login")
    kaggle.set_defaults(get=_from_kaggle)
    kaggle.add_argument("--dataset", type=_dataset, required=True, metavar="OWNER/NAME")
    kaggle.add_argument("--version", type=positive, metavar="N", help="default: the newest")
    kaggle.add_argument("--sha256", type=_sha256, metavar="HEX", help="of the zip file")
    kaggle.add_argument("--url", default=KAGGLE, metavar="BASE", help="default: %(default)s")

    archive = sources.add_parser("archive", help="unpack a local zip file")
    archive.set_defaults(get=_from_archive)
    archive.add_argument("--path", type=Path, required=True, metavar="ZIP")
    archive.add_argument("--sha256", type=_sha256, metavar="HEX", help="of the zip file")

    synthetic = sources.add_parser("synthetic", help="generate clips to try the workflow with")
    synthetic.set_defaults(get=_from_generator)
    synthetic.add_argument("--recordings", type=positive, required=True, metavar="N")
    synthetic.add_argument("--variants", type=positive, required=True, metavar="N")
    synthetic.add_argument("--seed", type=int, required=True, metavar="N")
    synthetic.add_argument("--workers", type=positive, default=1, metavar="N", help="processes")

    for source in (kaggle, archive, synthetic):
        source.add_argument(
            "--output",
            type=_folder,
            required=True,
            metavar="DIR",
            help="the folder of clips to make; appears when complete",
        )


def run(args: argparse.Namespace) -> None:
    """Make the folder of clips.

    Raises NoctactError when it is there already, whosever it is, and when the source does not give
    it whole.
    """
    if args.output.exists():
        raise NoctactError(f"{args.output}: is there already; delete it or choose another output")
    args.get(args)


def _from_kaggle(args: argparse.Namespace) -> None:
    url = f"{args.url.rstrip('/')}/{args.dataset}"
    if args.version:
        url += f"?datasetVersionNumber={args.version}"
    # A stable name beside the output, where a later call finds what this one leaves.
    work = args.output.with_name(f"{args.output.name}.download")
    archive = work / "archive.zip"
    download(url, archive)
    try:
        _unpack_checked(archive, args.sha256, args.output)
    except BrokenArchive:
        discard(work)
        raise
    discard(work)


def _from_archive(args: argparse.Namespace) -> None:
    _unpack_checked(args.path, args.sha256, args.output)


def _from_generator(args: argparse.Namespace) -> None:
    # Imported here, because only this source needs video codecs.
    from noctact.synthetic import generate  # noqa: PLC0415

    generate(
        args.output,
        recordings=args.recordings,
        variants=args.variants,
        seed=args.seed,
        workers=args.workers,
    )


def _unpack_checked(archive: Path, sha256: str | None, folder: Path) -> None:
    """Unpack `archive`; leave no `folder` when its sum is wrong or it holds no <class>/<clip>."""
    if sha256:
        check_sha256(archive, sha256)
    unpack(archive, folder)
    try:
        clip_folder(folder)
    except NoctactError:
        discard(folder)
        raise


def _matching(pattern: str, meaning: str, text: str) -> str:
    if not re.fullmatch(pattern, text):
        raise argparse.ArgumentTypeError(f"{text!r} is not {meaning}")
    return text


def _dataset(text: str) -> str:
    return _matching(r"[\w-]+/[\w-]+", "OWNER/NAME", text)


def _sha256(text: str) -> str:
    """A sum, or nothing where none is expected."""
    return text and _matching(r"[0-9a-fA-F]{64}", "a SHA-256 sum of 64 hex digits", text)


def _folder(text: str) -> Path:
    if Path(text).name in ("", ".."):
        raise argparse.ArgumentTypeError(f"{text!r} does not name a folder to make")
    return Path(text)
