"""`python -m noctact <stage> ...`: one subcommand a stage.

Exit codes: 0 done; 1 a failure, one line on stderr; 2 wrong usage.
"""

import argparse
import sys
from importlib import import_module

from noctact.calls import end_with_caller
from noctact.errors import NoctactError
from noctact.imports import quick_imports

STAGES = {
    "acquire": "get the clips: download, unpack or generate them",
    "index": "list the clips: size, content, shard",
    "extract": "decode the frames of one shard of clips into HDF5",
    "audit": "write the manifest; group the clips of one recording; gather what could not be used",
    "split": "divide the clips into train, val and test",
    "survey": "tell what the data are like, and what leaks across the split",
    "controls": "predict the val and test clips without a network, for comparison",
    "train": "train one model",
    "evaluate": "predict the val and test clips with a trained model",
    "compare": "compare the models of a run, or finished runs",
    "report": "write the page of a run, and how it was made",
    "parity": "list the clips of which seeking gives other frames than decoding",
    "frames": "draw the frames that are taken of one clip, as a film strip",
    "describe": "print the layers and parameters of the models",
    "config": "print the reference of every config key",
}


def main(argv: list[str] | None = None) -> int:
    """Run one stage; each stage's module has `add_arguments(parser)` and `run(args)`."""
    end_with_caller()
    arguments = sys.argv[1:] if argv is None else argv
    stages = (f"  {name:<10}{text}" for name, text in STAGES.items())
    parser = argparse.ArgumentParser(
        prog="noctact",
        description="\n".join(["stages:", *stages]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("stage", choices=STAGES, metavar="stage", help="--help after it tells more")
    stage = parser.parse_args(arguments[:1]).stage
    # Imported here, so that a stage pays only for the packages that it needs itself.
    with quick_imports():
        module = import_module(f"noctact.{stage}")
    parser = argparse.ArgumentParser(prog=f"noctact {stage}", description=STAGES[stage])
    module.add_arguments(parser)
    args = parser.parse_args(arguments[1:])
    try:
        module.run(args)
    except (NoctactError, OSError) as error:
        # One line, whatever a file may be called.
        print(f"noctact {stage}:", *str(error).splitlines(), file=sys.stderr)
        return 1
    except MemoryError:
        print(f"noctact {stage}: not enough memory; close what else runs", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130  # as a shell tells of Ctrl-C
    return 0


if __name__ == "__main__":
    sys.exit(main())
