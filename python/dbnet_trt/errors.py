# SPDX-License-Identifier: Apache-2.0
"""Every error of the package. Wrong arguments are plain ValueError or TypeError."""


class DBNetError(Exception):
    """Base of all errors that are not a wrong argument."""


class ImageError(DBNetError, ValueError):
    """An image could not be read, or is not an image."""


class BuildError(DBNetError, RuntimeError):
    """A model could not be exported or an engine could not be built."""


class EngineError(DBNetError, RuntimeError):
    """A model or engine cannot run: wrong file, device, version, architecture or memory."""


class TrainingError(DBNetError, RuntimeError):
    """Training cannot go on."""
