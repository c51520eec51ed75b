// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "csrc/preprocess.hpp"

namespace dbnet {

/// A corner of an outline, in pixels; pixel centres are at integers.
struct Corner {
    double x, y;
};

/// The outline of one text, with K >= 3 corners. With `ignore` its inside is masked out.
struct Outline {
    std::span<const Corner> corners;
    bool ignore;
};

/// Parameters of the label maps.
struct TargetParams {
    double shrink_ratio;            // r in D = A (1 - r^2) / L
    double thresh_min, thresh_max;  // range of the threshold map
    double border_px;               // pixels at most this far outside the shrunk text belong to it
};

/// Label maps of one image in host memory, each (height, width) float32, row-major.
struct TargetMaps {
    float* shrink_map;
    float* shrink_mask;
    float* thresh_map;
    float* thresh_mask;
};

/// Draw the label maps of DBNet: the shrink map, 1 inside text shrunk by D = A (1 - r^2) / L; the
/// threshold map, which rises from thresh_min at distance D to thresh_max at the text's edges; and
/// the masks of the pixels where each is valid. Outlines are clipped to `size`.
void draw_targets(std::span<const Outline> outlines, Size size, const TargetParams& params,
                  const TargetMaps& maps);

}  // namespace dbnet
