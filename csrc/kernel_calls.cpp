// SPDX-License-Identifier: Apache-2.0
#include "csrc/kernel_calls.hpp"

#include "csrc/batch.hpp"
#include "kernels/boxes.hpp"
#include "kernels/preprocess.hpp"

namespace dbnet::kernel_calls {
namespace {

template <class T>
T* at(Address address) {
    return reinterpret_cast<T*>(address);
}

Stream to_stream(Address handle) { return reinterpret_cast<Stream>(handle); }

DeviceMaps to_device_maps(const Maps& maps) {
    return {at<const void>(maps.values),
            maps.is_half,
            at<const MapSize>(maps.sizes),
            maps.shape.batch,
            maps.shape.height,
            maps.shape.width};
}

Address address_of(const void* pointer) { return reinterpret_cast<Address>(pointer); }

static_assert(offsetof(TextBox, quad) == 0 && offsetof(TextBox, score) == 32 &&
                  offsetof(TextBox, label) == 36 && sizeof(TextBox) == 40,
              "TEXT_BOX in bindings_pipeline.cpp must describe the same layout");

}  // namespace

std::size_t upload_bytes(std::span<const BatchImage> images) { return dbnet::upload_bytes(images); }

UploadAddresses write_upload(std::span<const BatchImage> images, const PostprocessParams& params,
                             Address host, Address device) {
    dbnet::write_upload(images, params, at<std::byte>(host), at<std::byte>(device));
    Arena arena(at<void>(device));
    const UploadHeader header(arena, static_cast<int>(images.size()));
    return {address_of(header.params), address_of(header.images), address_of(header.map_sizes),
            address_of(header.image_sizes)};
}

void preprocess(Address images, const Shape& shape, const Normalization& normalization,
                bool out_is_half, Address out, Address stream) {
    const auto& [scale, bias, swap_red_blue] = normalization;
    const PreprocessParams params{shape.batch,
                                  shape.height,
                                  shape.width,
                                  {scale[0], scale[1], scale[2]},
                                  {bias[0], bias[1], bias[2]},
                                  swap_red_blue,
                                  out_is_half};
    dbnet::preprocess(at<const DeviceImage>(images), params, at<void>(out), to_stream(stream));
}

std::size_t workspace_bytes(const Shape& shape) {
    return box_workspace_bytes(shape.batch, shape.height, shape.width);
}

void find_boxes(const Maps& maps, Address image_sizes, Address params, Address workspace,
                Address counts, Address boxes, int capacity, Address stream) {
    dbnet::find_boxes(to_device_maps(maps), at<const MapSize>(image_sizes),
                      at<const BoxParams>(params), at<void>(workspace),
                      {at<BoxCount>(counts), at<TextBox>(boxes), capacity}, to_stream(stream));
}

void write_labels(const Maps& maps, Address workspace, Address labels, Address stream) {
    write_box_labels(to_device_maps(maps), at<void>(workspace), at<std::uint32_t>(labels),
                     to_stream(stream));
}

}  // namespace dbnet::kernel_calls
