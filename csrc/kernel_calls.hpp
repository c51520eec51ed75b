// SPDX-License-Identifier: Apache-2.0
//
// The launchers of kernels/ for Python, one by one: benchmarks and tests time and compare them.
// Addresses are of device memory, as numbers; everything is asynchronous on the stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "csrc/pipeline.hpp"

namespace dbnet::kernel_calls {

using Address = std::uintptr_t;

/// Network outputs: (batch, height, width) float or half, and the part of each that is looked at,
/// (batch, 2) int32.
struct Maps {
    Address values;
    bool is_half;
    Address sizes;
    Shape shape;
};

/// What the kernels read of a frame beside pixels and maps.
struct FrameAddresses {
    Address params;                  // a struct BoxParams
    Address images;                  // (batch) structs DeviceImage
    Address map_sizes, image_sizes;  // (batch, 2) int32
};

/// The bytes of that, as the pipeline uploads it; images in host memory are part of it.
std::size_t frame_bytes(std::span<const FrameImage> images);

/// Writes it at `host`; it is to be copied to `device`, where the addresses returned lie.
FrameAddresses write_frame(std::span<const FrameImage> images, const PostprocessParams& params,
                           Address host, Address device);

/// `images`: (batch) structs DeviceImage; `out`: (batch, 3, height, width).
void preprocess(Address images, const Shape& shape, const Normalization& normalization,
                bool out_is_half, Address out, Address stream);

/// Bytes of the workspace of the calls below; to be zeroed before the first one.
std::size_t workspace_bytes(const Shape& shape);

/// `params`: a struct BoxParams; `counts`: (batch) BoxCount; `boxes`: (batch, capacity) TextBox.
void find_boxes(const Maps& maps, Address image_sizes, Address params, Address workspace,
                Address counts, Address boxes, int capacity, Address stream);

/// After find_boxes: `labels`, (batch, height, width) uint32.
void write_labels(const Maps& maps, Address workspace, Address labels, Address stream);

}  // namespace dbnet::kernel_calls
