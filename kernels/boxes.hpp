// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "kernels/components.hpp"

namespace dbnet {

/// Parameters of find_boxes, as PostprocessParams of the CPU core documents them. On the device.
struct BoxParams {
    ComponentParams components;  // min_area: min_side squared, or less
    float score_threshold, unclip_ratio, min_side;
    std::int32_t max_boxes;  // maximum number per map, 1 or more; the highest-scoring are kept
    bool logits;
};

/// Maximum number of quads per map that pass the filters; any more are dropped and counted.
constexpr int kMaxCandidates = 8192;

/// A detection in pixels of the image: corners (x, y), clockwise from the text's top left.
struct alignas(8) TextBox {
    float quad[4][2];
    float score;
    std::uint32_t label;  // of its component, as in write_box_labels
};

/// Number of detections in a map.
struct BoxCount {
    std::uint32_t num_boxes;
    std::uint32_t num_dropped;  // beyond kMaxCandidates; which ones are dropped is unspecified
};

/// Output arrays of find_boxes, on the device.
struct FoundBoxes {
    BoxCount* counts;  // (maps)
    TextBox* boxes;    // (maps, capacity), best score first, in the CPU core's order
    int capacity;      // of `boxes` per map: an upper limit on max_boxes
};

/// Size in bytes of the device workspace of find_boxes, which is aligned to 256 bytes.
std::size_t box_workspace_bytes(int num_maps, int height, int width);

/// Find the text in a batch of maps with sides of 1 to kMaxMapSide pixels, as the CPU core does.
/// Quads are scaled from the valid part of each map to `image_sizes`, (maps), and clipped.
/// `image_sizes` and `params` are on the device. Launch sizes depend on the shape alone, so a graph
/// can replay them. Asynchronous on `stream`.
void find_boxes(const DeviceMaps& maps, const MapSize* image_sizes, const BoxParams* params,
                void* workspace, const FoundBoxes& found, Stream stream);

/// Label the components of a batch of maps, after find_boxes with the same maps and workspace.
/// `labels`: (maps, height, width) on the device, 1 + the component's first pixel as y * width + x;
/// 0 elsewhere. Asynchronous on `stream`.
void write_box_labels(const DeviceMaps& maps, void* workspace, std::uint32_t* labels,
                      Stream stream);

}  // namespace dbnet
