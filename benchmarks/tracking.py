# SPDX-License-Identifier: Apache-2.0
"""Tracks on drawn clips with known paths: accuracy (MOTA), switches of identity, CPU time.

MOTA and switches are those of CLEAR MOT (Bernardin and Stiefelhagen 2008) at an IoU of 0.5. Texts
that are cut by the border, hidden, or touched by another are neither missed nor false, but their
identity has to be the same afterwards.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from clips import KINDS, Clip, Truth, make_clip
from dbnet_trt import Detections, Detector
from dbnet_trt.tracking import Tracker
from dbnet_trt.tracking.overlap import assign, quad_overlap
from measure import write_report

MIN_IOU = 0.5


@dataclass
class Score:
    """Counts of CLEAR MOT."""

    texts: int = 0
    missed: int = 0
    false: int = 0
    switches: int = 0
    paths: int = 0
    frames: int = 0
    last: dict[int, int] = field(default_factory=dict, repr=False)

    def add(self, truth: Truth, found: Detections) -> None:
        """Compare one frame."""
        assert found.track_ids is not None
        there = np.flatnonzero(truth.is_there)
        for text in set(self.last) - set(there.tolist()):  # it left; if it returns, it is another
            del self.last[text]
            self.paths += 1
        overlap = quad_overlap(truth.quads[there], found.quads)
        ids = found.track_ids.tolist()
        kept = np.zeros_like(overlap)
        for row, text in enumerate(there.tolist()):  # what was matched before stays, if it may
            if self.last.get(text) in ids:
                kept[row, ids.index(self.last[text])] = 10
        worth = np.where(overlap >= MIN_IOU, overlap + kept, 0).astype(np.float32)
        pairs = assign(worth, MIN_IOU)
        matched = {int(there[row]): ids[column] for row, column in pairs}
        for text in np.flatnonzero(truth.counts).tolist():
            self.texts += 1
            if text not in matched:
                self.missed += 1
            else:
                self.switches += self.last.get(text, matched[text]) != matched[text]
                self.last[text] = matched[text]
        ignored = there[~truth.counts[there]]
        is_excused = np.asarray((quad_overlap(truth.quads[ignored], found.quads) > 0).any(axis=0))
        self.false += int((~is_excused).sum()) - sum(
            not is_excused[column] for _, column in pairs.tolist()
        )
        self.frames += 1

    def finish(self) -> Score:
        """Count the paths of the clip, and begin another."""
        self.paths += len(self.last)
        self.last = {}
        return self

    def report(self) -> dict[str, Any]:
        """Return counts and rates."""
        errors = self.missed + self.false + self.switches
        return {
            "mota": round(1 - errors / max(1, self.texts), 4),
            "switches_per_100_tracks": round(100 * self.switches / max(1, self.paths), 2),
            **{name: getattr(self, name) for name in
               ("texts", "missed", "false", "switches", "paths", "frames")},
        }  # fmt: skip


def disturb(truth: Truth, rng: np.random.Generator) -> Detections:
    """Return outlines as a detector might: off by a pixel, one in 50 missed, one in 100 false."""
    exact = truth.quads[truth.is_there & (rng.random(len(truth.quads)) > 0.02)]
    quads = exact + rng.normal(0, 1, exact.shape)
    false = quads[rng.random(len(quads)) < 0.01] + rng.uniform(30, 60, 2)
    quads = np.concatenate([quads, false])[rng.permutation(len(quads) + len(false))]
    return Detections(quads.astype(np.float32), np.ones(len(quads), np.float32))


def track(clip: Clip, num_frames: int, detector: Detector | None, seed: int, score: Score,
          seconds: list[float]) -> None:  # fmt: skip
    """Follow the texts of one clip."""
    rng, tracker = np.random.default_rng(seed), Tracker()
    for number in range(num_frames):
        truth = clip.truth(number)
        found = detector.detect(clip.frame(number)) if detector else disturb(truth, rng)
        start = time.process_time()
        found = tracker.update(found)
        seconds.append(time.process_time() - start)
        score.add(truth, found)
    score.finish()


def run(num_clips: int, num_frames: int, model: str | None) -> dict[str, Any]:
    """Follow the texts of clips of every kind."""
    detector = None if model is None else Detector(model)
    size, texts = ((640, 384), 0) if detector else ((1280, 720), 50)
    report: dict[str, Any] = {}
    total, all_seconds = Score(), list[float]()
    for kind in KINDS:
        score, seconds = Score(), list[float]()
        for seed in range(num_clips):
            clip = make_clip(kind, seed, size, texts)
            track(clip, num_frames, detector, seed, score, seconds)
        for name in ("texts", "missed", "false", "switches", "paths", "frames"):
            setattr(total, name, getattr(total, name) + getattr(score, name))
        report[kind] = score.report()
        all_seconds += seconds
        print(kind, report[kind], flush=True)
    times = 1e3 * np.array(all_seconds)
    return {
        "outlines": f"found by {model}" if model else "drawn, disturbed",
        "clips_per_kind": num_clips,
        "frames_per_clip": num_frames,
        "all": total.report(),
        "kinds": report,
        "cpu_ms_per_frame": {"median": round(float(np.median(times)), 3),
                             "p90": round(float(np.percentile(times, 90)), 3)},
    }  # fmt: skip


def plot(path: Path, model: str) -> None:
    """Draw three frames of two clips with the numbers of their tracks."""
    detector, rows = Detector(model), []
    for kind in ("pan", "cross"):
        clip, tracker, row = make_clip(kind, 1), Tracker(), []
        for number, (frame, found) in enumerate(detector.stream(map(clip.frame, range(31)))):
            tracked = tracker.update(found)
            if number % 15 == 0:
                drawn = cv2.copyMakeBorder(tracked.plot(frame), 3, 3, 3, 3, 0, value=(255,) * 3)
                row.append(cv2.resize(drawn, None, fx=0.75, fy=0.75, interpolation=cv2.INTER_AREA))
        rows.append(np.concatenate(row, axis=1))
    cv2.imwrite(str(path), np.concatenate(rows), [cv2.IMWRITE_JPEG_QUALITY, 80])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=4, help="clips of each kind")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--model", help="find the texts in drawn frames with this model")
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--plot", type=Path, help="JPEG of three frames of two clips; needs --model"
    )
    arguments = parser.parse_args()
    if arguments.plot is not None:
        plot(arguments.plot, arguments.model)
        return
    results = run(arguments.clips, arguments.frames, arguments.model)
    print(json.dumps({name: results[name] for name in ("all", "cpu_ms_per_frame")}, indent=1))
    write_report(results, arguments.json)


if __name__ == "__main__":
    main()
