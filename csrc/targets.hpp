// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <vector>

#include "csrc/preprocess.hpp"

namespace dbnet {

/// Corner of an outline, in pixels; pixel centres are at integers.
struct Corner {
    double x, y;
};

/// One outline of K >= 3 corners. Where `ignore` is set its inside is masked out.
struct Outline {
    std::span<const Corner> corners;
    bool ignore;
};

struct TargetParams {
    double shrink_ratio = 0.4;
    double thresh_min = 0.3, thresh_max = 0.7;
    double border_px = 0.5;  ///< pixels so little outside the shrunk text still belong to it
};

/// Label maps of one image in host memory, each (height, width) float32, row-major.
struct TargetMaps {
    float* shrink_map;
    float* shrink_mask;
    float* thresh_map;
    float* thresh_mask;
};

/// Draw the label maps of DBNet: where text is, shrunk by D = A (1 - r^2) / L; how close each pixel
/// is to the text's edges, in units of D; and where either counts. Parts outside are left out.
void draw_targets(std::span<const Outline> outlines, Size size, const TargetParams& params,
                  const TargetMaps& maps);

}  // namespace dbnet
