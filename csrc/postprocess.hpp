// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>
#include <vector>

#include "csrc/components.hpp"
#include "csrc/geometry.hpp"

namespace dbnet {

/// Parameters of post-processing. Python holds their defaults.
struct PostprocessParams {
    float binary_threshold;  // the binary map is where the probability is greater than this
    float score_threshold;   // quads with a lower score are dropped
    float unclip_ratio;      // r': sides move outwards by D' = A' r' / L'
    int max_candidates;      // maximum number of quads per image; the highest-scoring are kept
    float min_side;          // of the rectangle before unclipping, 2 more after it; in map pixels
    bool logits;             // the map holds logits instead of probabilities
};

/// A detection: a quad and its score, the mean probability inside it before unclipping.
struct ScoredQuad {
    Quad quad;
    float score;
};

/// Find the text in one map. Returns quads in map pixels, clockwise from the text's top left, best
/// score first, ties in raster order of the component's first pixel. A probability outside [0, 1]
/// counts as the nearer bound, NaN as 0. Linear in the number of pixels, whatever the map holds.
std::vector<ScoredQuad> postprocess(const FloatMap& map, const PostprocessParams& params);

/// The same for a map of bytes, the probability times 255, whatever `logits` says.
std::vector<ScoredQuad> postprocess(const ByteMap& map, const PostprocessParams& params);

/// Scale quads in place from pixels of a map to pixels of the image that it shows, and clip them to
/// the image. Both sizes are (height, width).
void to_image(std::vector<ScoredQuad>& quads, std::pair<int, int> map, std::pair<int, int> image);

/// Binary threshold in the units of a map of floats: `binary_threshold` itself, or its logit.
float map_threshold(float binary_threshold, bool logits);

/// Binary threshold in the units of a map of bytes: the largest byte that is not text.
std::uint8_t byte_threshold(float binary_threshold);

}  // namespace dbnet
