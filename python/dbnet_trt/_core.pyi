# SPDX-License-Identifier: Apache-2.0
"""Types of the compiled core, which csrc/*.hpp documents in full."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from . import errors

def cuda_status() -> tuple[str, int, int, str, list[tuple[str, int, int, int]]]:
    """Say what the build and the machine have of CUDA, without creating a context.

    Returns the architectures in the build, as in "75-real,90-real,120"; the versions of its
    runtime and of the driver, 1000 * major + 10 * minor, 0 for none; why the devices cannot be
    listed, or ""; and name, compute capability (major, minor) and bytes of each.
    """

def uses_avx2() -> bool:
    """Say whether the core has code for AVX2 and this CPU runs it."""

def preprocess(
    image: NDArray[np.uint8],
    resized: tuple[int, int],
    out: NDArray[np.float32],
    scale: Sequence[float],
    bias: Sequence[float],
    swap_red_blue: bool = False,
) -> None:
    """Resize, normalise and pad an image (H, W, 3) uint8 into out (3, h, w) float32.

    out[c, y, x] = resized_image[y, x, c'] * scale[c] + bias[c] for y, x inside `resized`
    (height, width), and 0 outside; c' is 2 - c with swap_red_blue. The resize is bit-exact with
    OpenCV's INTER_LINEAR. Releases the GIL.
    """

class PostprocessParams:
    """Parameters of post-processing, in the units of csrc/postprocess.hpp."""

    binary_threshold: float
    score_threshold: float
    unclip_ratio: float
    max_candidates: int
    min_side: float
    logits: bool
    def __init__(
        self,
        *,
        binary_threshold: float,
        score_threshold: float,
        unclip_ratio: float,
        max_candidates: int,
        min_side: float,
        logits: bool,
    ) -> None: ...

def postprocess(
    maps: NDArray[np.float32] | NDArray[np.uint8],
    params: PostprocessParams,
    sizes: Sequence[tuple[int, int]] | None = None,
    images: Sequence[tuple[int, int]] | None = None,
) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Find the text in (B, h, w) maps: quads (N, 4, 2) and scores (N,) per map.

    Maps are float32, or uint8: the probability times 255, whatever `params.logits` says.
    `sizes` gives the valid (height, width) of each map, from its top left; the whole map without.
    Quads are in map pixels; or, with `images`, the (height, width) of the image that each map
    shows, in image pixels and clipped to the image. Best score first; ties in raster order of the
    component's first pixel. Releases the GIL.
    """

class Components:
    """The 8-connected components of the pixels above the threshold of a (h, w) map.

    The map is as in `postprocess`, but of probabilities. Numbered in raster order of each
    component's first pixel. Memory grows with the runs of pixels, not with the map.
    """

    def __init__(
        self, map: NDArray[np.float32] | NDArray[np.uint8], binary_threshold: float
    ) -> None: ...
    @property
    def boxes(self) -> NDArray[np.int32]:
        """(N, 4) int32: x_min, y_min, x_max, y_max, the last pixels included."""

    def mask(self, index: int) -> NDArray[np.uint8]:
        """Draw a component: 1 at its pixels, 0 elsewhere, of the size of its box."""

def label_components(
    map: NDArray[np.float32], binary_threshold: float
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Label the 8-connected components of the pixels above the threshold of a (h, w) float32 map.

    Returns labels (h, w) int32, 0 = background, 1.. in raster order of each component's first
    pixel; and boxes (N, 4) int32, x_min, y_min, x_max, y_max, the last pixels included.
    """

def number_components(
    first_pixels: NDArray[np.uint32],
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Convert the GPU's labels to the result of `label_components`.

    first_pixels: (h, w) uint32, 1 + the first pixel of the component as y * w + x; 0 elsewhere.
    """

class EngineError(errors.EngineError): ...

class NetworkCallbacks(Protocol):
    """How the pipeline calls the network, from the thread that submits."""

    def prepare(self, batch: int, height: int, width: int, /) -> None: ...
    def release(self, batch: int, height: int, width: int, /) -> None: ...
    def enqueue(
        self,
        input_pointer: int,
        output_pointer: int,
        shape: tuple[int, int, int],
        stream: int,
        /,
    ) -> None: ...
    def warn(self, message: str, /) -> None: ...

class PipelineConfig:
    """Configuration of a pipeline.

    Normalization is out[c] = pixel[c'] * scale[c] + bias[c]; c' is 2 - c with swap_red_blue.
    """

    def __init__(
        self,
        *,
        device: int,
        input_is_half: bool,
        output_is_half: bool,
        captures: bool,
        max_shapes: int,
        max_bytes: int,
        scale: Sequence[float],
        bias: Sequence[float],
        swap_red_blue: bool,
    ) -> None: ...

class Ticket: ...

class JoinedMap:
    """A map on the GPU in which the maps of tiles are joined."""

_Bytes = NDArray[np.uint8]
_Colors = tuple[int, int, int, int, int, int]
_PipelineImage = (
    _Bytes | tuple[_Bytes, _Bytes, _Colors] | tuple[int, int, int, int, int, int, _Colors]
)

class FrameMemory:
    """Copies of a video decoder's frames in GPU memory, which the decoder overwrites."""

    def __init__(self, device: int) -> None: ...
    @property
    def stream(self) -> int:
        """Handle of the stream on which the decoder writes and frames are copied."""

    def copy(
        self, luma: tuple[int, int], chroma: tuple[int, int], size: tuple[int, int]
    ) -> CopiedFrame:
        """Copy an NV12 frame of size (height, width), and wait until it is done.

        Planes are address and bytes per row.
        """

class CopiedFrame:
    """A frame of `FrameMemory`, which uses its memory again when this object is gone."""

    @property
    def address(self) -> int:
        """Address of the (height * 3 / 2, width) bytes, luma and then chroma."""

class Pipeline:
    """Detection on the GPU: images in, quads out. Releases the GIL while it waits."""

    def __init__(self, callbacks: NetworkCallbacks, config: PipelineConfig) -> None: ...
    def submit(
        self,
        images: Sequence[tuple[_PipelineImage, tuple[int, int]]],
        padded: tuple[int, int],
        params: PostprocessParams,
        wants_maps: bool,
        wants_labels: bool,
        streams: Sequence[int],
    ) -> Ticket:
        """Enqueue a batch of images, each with its (height, width) within the padded size.

        An image is BGR, (H, W, 3) uint8; or NV12, (H, W) and (H / 2, W) uint8; or on the device:
        address and bytes per row of the pixels, of the chroma plane or 0, 0, height, width. Colours
        of NV12 are those of `images/nv12.py`.
        """

    def join(self, size: tuple[int, int]) -> JoinedMap | None:
        """Make a map of size (height, width) to join tiles in; None if it does not fit."""

    def submit_tiles(
        self,
        images: Sequence[tuple[_PipelineImage, tuple[int, int]]],
        padded: tuple[int, int],
        joined: JoinedMap,
        parts: Sequence[tuple[int, int, int, int, int, int]],
        streams: Sequence[int],
    ) -> Ticket:
        """Enqueue a batch of tiles, which are joined and not searched.

        A part is y and x in the tile's map, height and width, y and x in the joined map.
        """

    def submit_joined(
        self,
        joined: JoinedMap,
        image: tuple[int, int],
        params: PostprocessParams,
        wants_maps: bool,
        wants_labels: bool,
    ) -> Ticket:
        """Enqueue the search of a joined map, which stands for an image of this size."""

    def collect(
        self, ticket: Ticket
    ) -> tuple[
        list[tuple[NDArray[np.float32], NDArray[np.float32]]],
        int,
        NDArray[np.uint8],
        NDArray[np.uint32],
    ]:
        """Wait for a batch.

        Returns (quads (N, 4, 2), scores (N,)) per image, in its pixels; the number of detections
        beyond the GPU's 8192 per image; the bytes of the maps; and the first pixel of each pixel's
        component. The last two are empty unless wanted.
        """

    def usage(self) -> dict[str, int]: ...
    @property
    def import_stream(self) -> int: ...

def draw_targets(
    polygons: Sequence[NDArray[np.float64]],
    ignore: Sequence[bool],
    size: tuple[int, int],
    shrink_ratio: float,
    thresh_min: float,
    thresh_max: float,
    border_px: float,
) -> NDArray[np.float32]:
    """Draw the label maps of N outlines (K, 2) in pixels: (4, height, width) float32.

    In order: shrink_map, shrink_mask, thresh_map, thresh_mask. Releases the GIL.
    """

class kernels:
    """A submodule: the launchers of csrc/kernel_calls.hpp. Numbers are addresses and handles."""

    TEXT_BOX: np.dtype[np.void]
    """A detection as `find_boxes` writes it: quad (4, 2) and score float32, label uint32."""

    @staticmethod
    def upload_bytes(images: Sequence[tuple[_PipelineImage, tuple[int, int]]]) -> int: ...
    @staticmethod
    def write_upload(
        images: Sequence[tuple[_PipelineImage, tuple[int, int]]],
        params: PostprocessParams,
        host: int,
        device: int,
    ) -> tuple[int, int, int, int]:
        """Write a batch's upload to `host`, for images as in `Pipeline.submit`.

        Returns the addresses within the copy at `device`: params, images, the sizes of the valid
        parts of the maps, and the sizes of the images.
        """

    @staticmethod
    def preprocess(
        images: int,
        shape: tuple[int, int, int],
        scale: Sequence[float],
        bias: Sequence[float],
        swap_red_blue: bool,
        out_is_half: bool,
        out: int,
        stream: int,
    ) -> None: ...
    @staticmethod
    def workspace_bytes(shape: tuple[int, int, int]) -> int: ...
    @staticmethod
    def find_boxes(
        maps: tuple[int, bool, int, tuple[int, int, int]],
        image_sizes: int,
        params: int,
        workspace: int,
        counts: int,
        boxes: int,
        capacity: int,
        stream: int,
    ) -> None: ...
    @staticmethod
    def write_labels(
        maps: tuple[int, bool, int, tuple[int, int, int]], workspace: int, labels: int, stream: int
    ) -> None: ...
