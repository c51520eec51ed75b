# SPDX-License-Identifier: Apache-2.0
"""The command `dbnet`: its subcommands, error handling and exit codes."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from cyclopts import App, CycloptsError

from .. import __version__
from ..errors import DBNetError, did_you_mean
from ..extras import EXTRAS, PACKAGES, install_hint
from ..images.load import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from .console import INTERRUPTED, SUCCESS, err, fail, prepare_terminal

COMMANDS = {  # name: (function, help, example)
    "detect": ("detect:detect", "Find text in images, videos and streams.",
               "dbnet detect photo.jpg --save out.jpg"),
    "read": ("read:read", "Read the text in images, in the order a person would.",
             "dbnet read photo.jpg"),
    "bulk": ("bulk:bulk", "Find text in millions of images on a Ray cluster.",
             "dbnet bulk scans/ found/"),
    "models": ("models:models", "List the named models.", "dbnet models"),
    "info": ("models:info", "Print a model's card.", "dbnet info dbnet-lines"),
    "serve": ("serve:serve", "Serve a page, REST and the open inference protocol over HTTP.",
              "dbnet serve --port 8000"),
    "label": ("label:label", "Outline text as tasks for Label Studio.",
              "dbnet label photos/ --output tasks.json"),
    "data": ("data:app", "Check data sets.", "dbnet data check icdar2015:data/ic15"),
    "synth": ("synth:synth", "Draw synthetic scenes.", "dbnet synth scenes 1000"),
    "train": ("train:app", "Train a detector.",
              "dbnet train --preset quick --data icdar2015:data/ic15 --output runs/first"),
    "distill": ("distill:distill", "Label photos with detectors' maps, to train another.",
                "dbnet distill ppocrv4-mobile --data td500:data/td500 --output taught"),
    "export": ("train:export", "Export a checkpoint to ONNX.",
               "dbnet export runs/first/best.safetensors first.onnx"),
    "eval": ("evaluate:evaluate", "Score a detector on a data set.",
             "dbnet eval first.onnx --data icdar2015:data/ic15"),
    "tune": ("tune:tune", "Choose thresholds on photos with ground truth.",
             "dbnet tune mine.onnx --data icdar2015:data/ic15#val --output tuned.onnx"),
    "score": ("evaluate:score", "Score existing results.",
              "dbnet score gt.zip results.zip --protocol icdar2015"),
    "build": ("build:build", "Build a TensorRT engine.",
              "dbnet-build dbnet-lines --precision fp16"),
    "doctor": ("doctor:doctor", "Say what is installed here, what works, and what is missing.",
               "dbnet doctor"),
}  # fmt: skip
"""The subcommands, each imported when it is called."""

OWN_OPTIONS = ("--help", "-h", "--version")
"""Options of `dbnet` without a subcommand."""

app = App(
    name="dbnet",
    help="Find text in photos, documents and video. A path alone means `dbnet detect`.",
    version=__version__,
    help_epilogue="Example: dbnet detect photo.jpg --save out.jpg",
    suppress_keyboard_interrupt=False,  # `main` reports it
)
for _name, (_where, _help, _example) in COMMANDS.items():
    _is_app = _where.endswith(":app")  # which has its own help
    _more = {} if _is_app else {"help_epilogue": f"Example: {_example}"}
    app.command(f"dbnet_trt.cli.{_where}", name=_name, help=_help, **_more)


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code.

    Errors of this package are printed in one line on standard error, without a traceback.

    Args:
        arguments: The command and its arguments; those of the process if left out.

    Raises:
        ImportError: A module of this package is broken; a missing library is only reported.
    """
    prepare_terminal()
    try:
        tokens = _with_command(sys.argv[1:] if arguments is None else arguments)
        result = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except KeyboardInterrupt:
        err.print("interrupted", style="yellow")
        return INTERRUPTED
    except BrokenPipeError:  # the reader, as in `dbnet ... | head`, has closed
        sys.stderr.close()
        return 1
    except ImportError as error:
        message = _missing_library(error)
        if message is None:
            raise
        return fail(message)
    except (OSError, MemoryError) as error:  # a full disk, most often
        return _report_system_error(error)
    except (CycloptsError, DBNetError, ValueError) as error:
        return fail(" ".join(str(error).split()))
    return result if isinstance(result, int) else SUCCESS


def _with_command(tokens: list[str]) -> list[str]:
    """Return the arguments with `detect` before them if they begin with a path.

    Raises:
        ValueError: The first is neither a command nor a path, or one is empty: as a path it would
            mean the working directory.
    """
    if "" in tokens:
        before = f" after {tokens[tokens.index('') - 1]}" if tokens.index("") else ""
        raise ValueError(f"the argument{before} is empty; is a variable of the shell not set?")
    first = tokens[0] if tokens else "--help"
    if first in COMMANDS or first in OWN_OPTIONS:
        return tokens
    if first.startswith("-"):
        suggestion = did_you_mean(first, OWN_OPTIONS)
        raise ValueError(f"expected a command or a path before the option {first}{suggestion}")
    path = Path(first)
    known = path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES
    if known or path.exists() or any(mark in first for mark in ("/", "*", "?", "://")):
        return ["detect", *tokens]
    suggestion = did_you_mean(first, COMMANDS) or f"; there are {', '.join(COMMANDS)}"
    raise ValueError(f'there is no command "{first}" and no file of that name{suggestion}')


def _missing_library(error: ImportError) -> str | None:
    """Say how to install a missing library; None if the error has another cause."""
    missing = error if isinstance(error, ModuleNotFoundError) else error.__cause__
    if not isinstance(missing, ModuleNotFoundError):
        return None
    name = missing.name or str(missing)
    library = name.partition(".")[0]
    if library not in EXTRAS and library not in PACKAGES:
        return f"this command needs {name}, which is not installed"
    return f"this command needs {PACKAGES.get(library, name)}; {install_hint(name)}"


def _report_system_error(error: OSError | MemoryError) -> int:
    """Print an error of the system, such as a full disk, a missing file or too little memory."""
    if isinstance(error, MemoryError):
        return fail("there is not enough memory; use a smaller size or batch")
    try:
        sys.stdout.flush()
    except OSError:  # drop what is buffered, or Python tries to write it again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno is None:  # not one of the system: it says all itself
        return fail(" ".join(str(error).split()))
    is_full = error.errno == errno.ENOSPC and not error.filename
    what = "the results cannot be written" if is_full else error.filename or "input or output"
    return fail(f"{what}: {error.strerror or error}")


if __name__ == "__main__":
    sys.exit(main())
