// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>
#include <vector>

#include "csrc/components.hpp"
#include "csrc/geometry.hpp"

namespace dbnet {

struct PostprocessParams {
    float binary_threshold = 0.3f;  // text is where the probability is greater
    float score_threshold = 0.6f;   // quads with a lower score are dropped
    float unclip_ratio = 1.5f;      // r': sides move outwards by D' = A' r' / L'
    int max_candidates = 1000;      // at most so many quads, the best ones
    float min_side = 3.f;           // of the rectangle before unclip; 2 more after it; map pixels
    bool logits = false;            // the map holds logits, not probabilities
};

struct ScoredQuad {
    Quad quad;
    float score;
};

/// Text in one map: quads in map pixels, clockwise from the text's top left, best score first, ties
/// in raster order of the component's first pixel. A probability outside [0, 1] counts as the
/// nearer bound, NaN as 0. Linear in pixels, whatever the map holds.
std::vector<ScoredQuad> postprocess(const MapView& map, const PostprocessParams& params);

/// Scale quads, in place, from a map of (height, width) pixels to the image of another size that it
/// shows, and clip them to it.
void to_image(std::vector<ScoredQuad>& quads, std::pair<int, int> map, std::pair<int, int> image);

/// The threshold to compare map values with: `binary_threshold`, or its logit.
float map_threshold(float binary_threshold, bool logits);

}  // namespace dbnet
