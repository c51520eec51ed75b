# SPDX-License-Identifier: Apache-2.0
"""The command `dbnet serve`."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ..files import read_limited
from ..serving.config import MAX_PIXELS, ServerConfig
from .console import SUCCESS, err, line, prepare_terminal
from .options import DEFAULT_OPTIONS, RunOptions

if TYPE_CHECKING:
    from fastapi import FastAPI

KEY_VARIABLE = "DBNET_API_KEY"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
DEFAULT_CONFIG = ServerConfig()


def serve(
    model: str | None = None,
    /,
    *,
    api_key_file: Path | None = None,
    label_studio: Path | None = None,
    config: Annotated[ServerConfig, Parameter(name="*")] = DEFAULT_CONFIG,
    options: Annotated[RunOptions, Parameter(name="*")] = DEFAULT_OPTIONS,
) -> int:
    """Serve a page, REST and the open inference protocol over HTTP.

    Parameters
    ----------
    model
        Name or path of the model, as --model takes it.
    api_key_file
        File with the API keys that clients may send, one per line; the environment variable
        DBNET_API_KEY sets one key.
    label_studio
        Folder of images, Label Studio's document root: its ML backend is answered at /label-studio.
    """
    from ..serving.run import address, listen, run

    if model is not None and options.model is not None:
        raise ValueError(f"two models are given, {model} and --model {options.model}; give one")
    options = replace(options, model=model or options.model)
    keys = _read_keys(api_key_file)
    if label_studio is not None and not label_studio.is_dir():
        raise ValueError(f"--label-studio must be a folder of images, got {label_studio}")
    open_app = partial(_open_app, options, config, keys, label_studio)
    with listen(config) as listener:
        app = open_app()  # errors of the model are reported here, once
        host, port = listener.getsockname()[:2]
        err.print(line(f"serving on http://{address(host, port)}; Ctrl-C ends it"), soft_wrap=True)
        if host not in LOOPBACK and not keys:
            logging.getLogger("dbnet_trt").warning(
                "everyone who reaches %s can use this server; --api-key-file asks for a key", host
            )
        if config.workers == 1:
            run(lambda: app, config, listener)
        else:
            del app  # each process opens its own
            run(open_app, config, listener)
    return SUCCESS


def _open_app(
    options: RunOptions, config: ServerConfig, keys: tuple[str, ...], label_studio: Path | None
) -> FastAPI:
    """Open the detector and make the application, in this process or a new one."""
    from ..serving.app import create_app

    prepare_terminal()
    logging.getLogger("dbnet_trt").setLevel(logging.INFO)
    detector = options.open_detector()
    return create_app(
        detector,
        config,
        keys=keys,
        max_pixels=options.max_pixels or MAX_PIXELS,
        size=options.size(detector.card),
        label_studio=label_studio,
    )


def _read_keys(path: Path | None) -> tuple[str, ...]:
    """Read the API keys of the file and the environment."""
    keys = [os.environ[KEY_VARIABLE]] if KEY_VARIABLE in os.environ else []
    if path is not None:
        try:
            keys += read_limited(path).decode("ascii").split()
        except UnicodeDecodeError as error:
            raise ValueError(
                f"expected keys of ASCII characters in {path}, one per line"
            ) from error
        if not keys:
            raise ValueError(f"{path} holds no key; write one per line")
    if any(not key.strip() for key in keys):
        raise ValueError(f"{KEY_VARIABLE} is set but empty; set a key, or unset it")
    return tuple(keys)
