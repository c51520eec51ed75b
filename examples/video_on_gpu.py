# SPDX-License-Identifier: Apache-2.0
"""Draw the outlines of the text into a video, on a GPU.

Usage: python examples/video_on_gpu.py VIDEO DRAWN.mp4 MODEL
MODEL is an .engine file of dbnet-build, or a .safetensors checkpoint, which PyTorch runs.
"""

import argparse
import sys

from dbnet_trt import Detector, cuda_available
from dbnet_trt.images.video import VideoFile, frame_rate, read_frames


def draw_video(detector: Detector, source: str, target: str) -> int:
    """Write a video with the outlines drawn, and return its number of frames."""
    frames = (frame for _, frame in read_frames(source))
    video = VideoFile(target, frame_rate(source))
    for frame, found in detector.stream(frames):  # the next is uploaded while this one computes
        video.add(found.plot(frame))
    video.close()
    return video.num_frames


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("video", "drawn", "model"):
        parser.add_argument(name)
    arguments = parser.parse_args()
    if not cuda_available():
        sys.exit("this example needs a CUDA GPU; `dbnet detect VIDEO --save out.mp4` does not")
    detector = Detector(arguments.model, device="cuda")
    print(f"{draw_video(detector, arguments.video, arguments.drawn)} frames")
    return 0


if __name__ == "__main__":
    sys.exit(main())
