// SPDX-License-Identifier: Apache-2.0
//
// The launchers of kernels/ for Python, one by one, so that benchmarks can time them and tests
// compare them. Addresses are of device memory, as numbers. Launches are asynchronous on `stream`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "csrc/pipeline.hpp"

namespace dbnet::kernel_calls {

/// A pointer, or the handle of a stream, as a number.
using Address = std::uintptr_t;

/// Network outputs: (batch, height, width) float or half, in whole units of 16 bytes, and the valid
/// size of each map, (batch, 2) int32. Both on the device.
struct Maps {
    Address values;
    bool is_half;
    Address sizes;
    Shape shape;
};

/// Device addresses of the parts of a batch's upload.
struct UploadAddresses {
    Address params;                  // a struct BoxParams
    Address images;                  // (batch) structs DeviceImage
    Address map_sizes, image_sizes;  // (batch, 2) int32
};

/// Size in bytes of a batch's upload, which includes the pixels of images in host memory.
std::size_t upload_bytes(std::span<const BatchImage> images);

/// Write a batch's upload to host memory at `host`, as the pipeline does. Returns the addresses
/// that are valid once it has been copied to `device`.
UploadAddresses write_upload(std::span<const BatchImage> images, const PostprocessParams& params,
                             Address host, Address device);

/// Preprocess a batch. `images`: (batch) structs DeviceImage; `out`: (batch, 3, height, width)
/// float or half.
void preprocess(Address images, const Shape& shape, const Normalization& normalization,
                bool out_is_half, Address out, Address stream);

/// Size in bytes of the workspace of find_boxes and write_labels.
std::size_t workspace_bytes(const Shape& shape);

/// Find the text in a batch of maps. `image_sizes`: (batch, 2) int32; `params`: a struct BoxParams;
/// `counts`: (batch) BoxCount; `boxes`: (batch, capacity) TextBox.
void find_boxes(const Maps& maps, Address image_sizes, Address params, Address workspace,
                Address counts, Address boxes, int capacity, Address stream);

/// Write the component of each pixel, after find_boxes. `labels`: (batch, height, width) uint32.
void write_labels(const Maps& maps, Address workspace, Address labels, Address stream);

}  // namespace dbnet::kernel_calls
