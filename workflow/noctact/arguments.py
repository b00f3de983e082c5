"""What the command lines of several stages share."""

import argparse

from noctact.sampling import RULES, FrameSettings


def positive(text: str) -> int:
    """A whole number of at least 1; ValueError, which argparse turns into wrong usage, if not."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def add_frame_settings(parser: argparse.ArgumentParser) -> None:
    """Options for the fields of FrameSettings; the defaults are those of the notebooks."""
    parser.add_argument("--count", type=positive, default=10, help="frames a clip")
    parser.add_argument("--height", type=positive, default=240, help="pixels")
    parser.add_argument("--width", type=positive, default=320, help="pixels")
    parser.add_argument("--sampling", choices=RULES, default="left", help="which frames")
    parser.add_argument("--by", choices=("index", "time"), default="index", help="what is divided")
    parser.add_argument("--decoding", choices=("exact", "seek"), default="exact", help="how")
    parser.add_argument("--truncated", choices=("quarantine", "keep"), default="quarantine")


def frame_settings(args: argparse.Namespace) -> FrameSettings:
    """The FrameSettings that the options give."""
    return FrameSettings(**{name: getattr(args, name) for name in FrameSettings._fields})
