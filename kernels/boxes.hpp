// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/components.hpp"

namespace dbnet {

/// As PostprocessParams of the CPU core, which tells what they mean. On the device.
struct BoxParams {
    ComponentParams components;  // min_area: min_side squared, or less
    float score_threshold, unclip_ratio, min_side;
    std::int32_t max_boxes;  // of a map, the best ones; 1 or more
    bool logits;
};

/// Quads that pass the filters of one map at most; more are dropped, and reported.
constexpr int kMaxCandidates = 8192;

/// Text in pixels of the image: corners (x, y), clockwise from the text's top left.
struct TextBox {
    float quad[4][2];
    float score;
    std::uint32_t label;  // of its component, as write_box_labels gives it
};

struct BoxCount {
    std::uint32_t num_boxes;
    std::uint32_t num_dropped;  // beyond kMaxCandidates: which ones is left to chance
};

/// Where the results go; all on the device.
struct FoundBoxes {
    BoxCount* counts;  // (maps)
    TextBox* boxes;    // (maps, capacity), best score first; the CPU core's order
    int capacity;      // of `boxes`; no more of a map are given, whatever max_boxes says
};

/// Bytes of device memory that find_boxes works in. Aligned to 256 bytes, zeroed before the first
/// call and when the shape changes; a call leaves it ready for the next.
std::size_t box_workspace_bytes(int num_maps, int height, int width);

/// Find the text in a batch of one map or more, sides 1 to kMaxMapSide: what the CPU core does,
/// scaled from the part of a map that is looked at to `image_sizes`, (maps), and clipped. Both
/// `image_sizes` and `params` are on the device. Launches of fixed size, fit for a graph.
/// Asynchronous on `stream`.
void find_boxes(const DeviceMaps& maps, const MapSize* image_sizes, const BoxParams* params,
                void* workspace, const FoundBoxes& found, Stream stream);

/// After find_boxes, with its arguments: labels, (maps, height, width) on the device, 1 + the
/// component's first pixel, counted y * width + x; 0 elsewhere. Asynchronous on `stream`.
void write_box_labels(const DeviceMaps& maps, void* workspace, std::uint32_t* labels,
                      Stream stream);

}  // namespace dbnet
