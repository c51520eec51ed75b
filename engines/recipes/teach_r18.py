# SPDX-License-Identifier: Apache-2.0
"""Teach dbnet-r18 the maps of several detectors, and the features of one.

python engines/recipes/teach_r18.py MODEL.onnx OUTPUT.onnx FEATURES.onnx,TEACHER,... \\
    FORMAT:PATH*WEIGHT...

FEATURES.onnx is a network of PP-OCRv4 mobile's kind. The teachers are that and the others, by name
or path (with @paddleocr behind it for a file without a card). They and the network see the same
augmented crop; the mean of their maps is learnt, and no labels are. Beside it the features of the
first, at a quarter of the image's size, are to follow linearly from the network's: they tell more
about a crop than its map, and the linear part is dropped in the end. The first layers stay as they
are. What is written is the moving average of the weights. A run that was stopped continues.
STEPS and PRECISION=bf16 (of the network; teachers compute in bf16 wherever the CPU has it) are read
from the environment.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from dbnet_trt import CpuConfig, DBNetError, Detector
from dbnet_trt.building.calibration import load_photo, network_input
from dbnet_trt.building.lowering import OnnxNetwork
from dbnet_trt.card import ModelCard
from dbnet_trt.data.open import read_photos
from dbnet_trt.data.samples import Sample
from dbnet_trt.engines.onnx_model import read_model
from dbnet_trt.engines.openvino import choose_precision, open_core
from dbnet_trt.images.load import Image
from dbnet_trt.network.onnx_dbnet import find_logits
from dbnet_trt.network.onnx_graph import OnnxGraph
from dbnet_trt.pipeline.polygons import to_probability
from dbnet_trt.settings import ResizePlan
from light_neck import FEATURES, NUM_FEATURES, write_model
from torch import Tensor, nn
from torch.nn import functional

CROP, BATCH_SIZE = 480, 3
ZOOM = (0.55, 1.6)
"""Smallest and largest short side of a photo that is cropped, in those of the card."""

STEPS = int(os.environ.get("STEPS", "4200"))
WARMUP, LEARNING_RATE, ADAPTER_RATE = 100, 1.2e-4, 6e-5
AVERAGE_DECAY = 0.999
HINT_WEIGHT, DICE_WEIGHT = 0.05, 0.1
NEAR, NEAR_WEIGHT = 25, 3
"""Side in pixels of the neighbourhood of text, and how much more a pixel counts there."""

STUDENT_FEATURES, NUM_STUDENT_FEATURES = "/model/Concat_output_0", 128
FROZEN = ("backbone/conv1", "backbone/layer1")
STATE_EVERY = 200
PRECISION = os.environ.get("PRECISION", "fp32")


def cut(image: Image, short_side: int, rng: np.random.Generator) -> Image:
    """Cut a square out of a photo, maybe mirrored and turned: (S, S, 3) uint8."""
    if rng.random() < 0.08:
        image = np.rot90(image, int(rng.integers(1, 4)))
    if rng.random() < 0.2:
        image = image[:, ::-1]
    image = np.ascontiguousarray(image)
    height, width = image.shape[:2]
    short = min(height, width)
    zoom = math.exp(rng.uniform(*np.log(ZOOM)))
    side = min(short, max(32, round(CROP * short / (short_side * zoom))))
    y, x = rng.integers(height - side + 1), rng.integers(width - side + 1)
    if rng.random() >= 0.5:
        return image[y : y + side, x : x + side]
    matrix = cv2.getRotationMatrix2D((x + side / 2, y + side / 2), rng.normal(0, 9), 1)
    matrix[:, 2] -= (x, y)
    flags = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REFLECT_101}
    return np.asarray(cv2.warpAffine(image, matrix, (side, side), **flags), np.uint8)


def spoil(crop: Image, rng: np.random.Generator) -> Image:
    """Change contrast, brightness and colours, blur, add noise, compress: each now and then."""
    if rng.random() < 0.6:
        values = (crop.astype(np.float32) - 128) * rng.uniform(0.6, 1.4) + 128
        values += rng.uniform(-40, 40)
        if rng.random() < 0.5:
            values *= rng.uniform(0.85, 1.15, (1, 1, 3)).astype(np.float32)
        crop = np.clip(values, 0, 255).astype(np.uint8)
    if rng.random() < 0.1:
        crop = 255 - crop
    if rng.random() < 0.15:
        crop = np.repeat(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)[..., None], 3, 2)
    if rng.random() < 0.25:
        crop = np.asarray(cv2.GaussianBlur(crop, (0, 0), rng.uniform(0.4, 1.6)), np.uint8)
    if rng.random() < 0.25:
        noise = rng.normal(0, rng.uniform(2, 12), crop.shape)
        crop = np.clip(crop + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.25:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 80))]
        crop = np.asarray(cv2.imdecode(cv2.imencode(".jpg", crop, quality)[1], 1), np.uint8)
    return np.ascontiguousarray(crop)


class Teachers:
    """Detectors whose mean map is learnt; the first gives features, too."""

    def __init__(self, names: Sequence[str]) -> None:
        cpu = CpuConfig("openvino", num_threads=1)
        self._detectors = []
        for name in names:
            model, _, card = name.partition("@")
            self._detectors.append(Detector(model, device="cpu", cpu=cpu, card=card or None))
        core, _ = open_core()
        graph = core.read_model(names[0])
        graph.add_outputs(FEATURES)
        graph.reshape([BATCH_SIZE, 3, CROP, CROP])
        precision = "bf16" if choose_precision(core, "auto") == "bf16" else "f32"
        hints = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1}
        self._first = core.compile_model(graph, "CPU", hints)

    def __call__(self, crops: Sequence[Image]) -> tuple[Tensor, Tensor]:
        """Run them on crops: features (B, 24, CROP / 4, CROP / 4), and the map (B, CROP, CROP)."""
        maps = []
        features = np.zeros(0)
        for number, detector in enumerate(self._detectors):
            batch = normalised(crops, detector.card)
            if number == 0:
                found = self._first(batch)
                features, values = found[FEATURES], found[0].reshape(-1, CROP, CROP)
            else:
                values = detector._engine(batch)  # type: ignore[operator]
            maps.append(to_probability(values, detector.card.output == "logit"))
        return torch.from_numpy(features.copy()), torch.from_numpy(np.mean(maps, axis=0))


def normalised(crops: Sequence[Image], card: ModelCard) -> np.ndarray:
    """Resize and normalise crops: (B, 3, CROP, CROP) float32."""
    rows = []
    for crop in crops:
        plan = ResizePlan((crop.shape[0], crop.shape[1]), (CROP, CROP), (CROP, CROP))
        rows.append(network_input(crop, card, plan))
    return np.concatenate(rows)


class Lesson:
    """A network, its teachers, and the crops that all see."""

    def __init__(self, teachers: Sequence[str], model: Path, photos: Sequence[str]) -> None:
        self.teachers = Teachers(teachers)
        network = OnnxNetwork(*read_model(model))
        self.card = network.card
        logits = find_logits(network.model.graph, network.output_name)[0]
        graph = OnnxGraph(network.model, (STUDENT_FEATURES, logits))
        self.student = graph.float().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for name, parameter in self.student.named_parameters():
            parameter.requires_grad_(not any(frozen in name for frozen in FROZEN))
        self.trained = [each for each in self.student.parameters() if each.requires_grad]
        self._samples: list[Sample] = []
        weights: list[float] = []
        for photo in photos:
            data, _, weight = photo.partition("*")
            samples = read_photos(data)
            self._samples += samples
            weights += [float(weight or 1)] * len(samples)
        self._shares = np.array(weights) / sum(weights)
        self.rng = np.random.default_rng(0)
        drawn = torch.cat([self.teachers(self.draw())[0] for _ in range(4)])
        self.mean = drawn.mean((0, 2, 3), keepdim=True)
        self.deviation = drawn.std((0, 2, 3), keepdim=True)
        self.adapter = self._fit_adapter()

    def draw(self) -> list[Image]:
        """Draw a batch of crops."""
        crops = []
        for _ in range(BATCH_SIZE):
            photo = self._samples[self.rng.choice(len(self._samples), p=self._shares)]
            crops.append(spoil(cut(load_photo(photo), self.card.short_side, self.rng), self.rng))
        return crops

    def see(self, crops: Sequence[Image]) -> tuple[Tensor, Tensor]:
        """Run the network: features, and logits (B, CROP, CROP)."""
        batch = torch.from_numpy(normalised(crops, self.card))
        batch = batch.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=PRECISION == "bf16"):
            features, logits = self.student(batch)
        return features.float(), logits.float().view(-1, CROP, CROP)

    def _fit_adapter(self) -> nn.Conv2d:
        """Fit the teacher's features as linear functions of the student's, by least squares."""
        inputs, outputs = [], []
        with torch.no_grad():
            for _ in range(6):
                crops = self.draw()
                flat = self.see(crops)[0].permute(0, 2, 3, 1).reshape(-1, NUM_STUDENT_FEATURES)
                inputs.append(functional.pad(flat, (0, 1), value=1.0))
                wanted = self.expected(crops)[0]
                outputs.append(wanted.permute(0, 2, 3, 1).reshape(-1, NUM_FEATURES))
        x, y = torch.cat(inputs).double(), torch.cat(outputs).double()
        products = x.T @ x
        products += torch.eye(len(products)) * products.diag().mean() * 1e-4
        solved = torch.linalg.solve(products, x.T @ y).float()
        adapter = nn.Conv2d(NUM_STUDENT_FEATURES, NUM_FEATURES, 1)
        with torch.no_grad():
            adapter.weight.copy_(solved[:-1].T[..., None, None])
            adapter.bias.copy_(solved[-1])  # type: ignore[union-attr]
        return adapter

    def expected(self, crops: Sequence[Image]) -> tuple[Tensor, Tensor]:
        """Run the teachers: features of mean 0 and deviation 1, and the mean map."""
        features, prob = self.teachers(crops)
        return (features - self.mean) / self.deviation, prob

    def loss(self) -> Tensor:
        """Draw crops and compare map and features."""
        crops = self.draw()
        wanted, prob = self.expected(crops)
        features, logits = self.see(crops)
        kernel = np.ones((NEAR, NEAR), np.uint8)
        near = np.stack([cv2.dilate(each, kernel) for each in prob.numpy()])
        weight = 1 + NEAR_WEIGHT * torch.from_numpy(near)
        loss = functional.binary_cross_entropy_with_logits(logits, prob, weight, reduction="sum")
        found = logits.sigmoid()
        overlap = 2 * (found * prob).sum() / (found.square().sum() + prob.square().sum() + 1)
        hint = (self.adapter(features) - wanted).square().mean()
        return loss / weight.sum() + DICE_WEIGHT * (1 - overlap) + HINT_WEIGHT * hint


def main(model: Path, target: Path, teachers: Sequence[str], photos: Sequence[str]) -> None:
    """Write a taught copy of the model."""
    lesson = Lesson(teachers, model, photos)
    average = torch.optim.swa_utils.AveragedModel(
        lesson.student, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(AVERAGE_DECAY)
    )
    rates = (
        (lesson.trained, LEARNING_RATE),
        (list(lesson.adapter.parameters()), ADAPTER_RATE),
    )
    groups = [{"params": parameters, "highest": rate} for parameters, rate in rates]
    optimizer = torch.optim.AdamW(groups, weight_decay=1e-4)
    parts: dict[str, Any] = {
        "student": lesson.student,
        "average": average,
        "adapter": lesson.adapter,
        "optimizer": optimizer,
    }
    state, first = target.with_suffix(".pt"), 0
    if state.exists():
        saved = torch.load(state, weights_only=True)
        first = saved["step"]
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        lesson.mean, lesson.deviation = saved["mean"], saved["deviation"]
        lesson.rng = np.random.default_rng(1000 + first)

    def write(path: Path) -> None:
        averaged: OnnxGraph = average.module  # type: ignore[assignment]
        write_model(averaged.to_onnx(), lesson.card, path)

    losses: list[float] = []
    for step in range(first, STEPS):
        rate = min(1.0, (step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        for group in optimizer.param_groups:
            group["lr"] = group["highest"] * rate
        loss = lesson.loss()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(lesson.trained, 1.0)
        optimizer.step()
        average.update_parameters(lesson.student)
        losses.append(loss.item())
        if step % 20 == 19:
            print(f"step {step + 1} of {STEPS}: {np.mean(losses[-20:]):.4f}", flush=True)
        if step % STATE_EVERY == STATE_EVERY - 1:
            whole = {name: part.state_dict() for name, part in parts.items()}
            rest = {"step": step + 1, "mean": lesson.mean, "deviation": lesson.deviation}
            torch.save(whole | rest, state)
            write(target.with_suffix(".part.onnx"))
    write(target)


if __name__ == "__main__":
    if len(sys.argv) < 5:
        raise SystemExit(__doc__)
    torch.set_num_threads(1)
    try:
        main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3].split(","), sys.argv[4:])
    except (DBNetError, ValueError, OSError) as problem:
        raise SystemExit(f"error: {problem}") from None
