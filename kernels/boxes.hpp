// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/components.hpp"

namespace dbnet {

/// As PostprocessParams of the CPU core, which tells what they mean.
struct BoxParams {
    float map_threshold;  // in the map's values: of logits where `logits` is set
    float score_threshold, unclip_ratio, min_side;
    int max_boxes;  // of a map, the best ones; 1 or more
    bool logits;
};

/// Quads that pass the filters of one map at most; more are dropped, and reported.
constexpr int kMaxCandidates = 8192;

/// Text in pixels of the image: corners (x, y), clockwise from the text's top left.
struct TextBox {
    float quad[4][2];
    float score;
    std::uint32_t label;  // of its component in FoundBoxes::labels
};

struct BoxCount {
    std::uint32_t num_boxes;
    std::uint32_t num_dropped;  // beyond kMaxCandidates: which ones is left to chance
};

/// Where the results go; all on the device.
struct FoundBoxes {
    BoxCount* counts;       // (maps)
    TextBox* boxes;         // (maps, max_boxes), best score first; the CPU core's order
    std::uint32_t* labels;  // (maps, height, width): 1 + the component's first pixel, counted
                            // y * width + x; 0 elsewhere. nullptr: not wanted
};

/// Bytes of device memory that find_boxes works in. Aligned to 256 bytes, zeroed before the first
/// call and when the shape changes; a call leaves it ready for the next.
std::size_t box_workspace_bytes(int num_maps, int height, int width);

/// Find the text in a batch of one map or more, sides 1 to kMaxMapSide: what the CPU core does,
/// scaled from the part of a map that is looked at to `image_sizes`, (maps) on the device, and
/// clipped. Launches of fixed size, fit for a graph. Asynchronous on `stream`.
void find_boxes(const DeviceMaps& maps, const MapSize* image_sizes, const BoxParams& params,
                void* workspace, const FoundBoxes& found, Stream stream);

}  // namespace dbnet
