// SPDX-License-Identifier: Apache-2.0
#include "csrc/frame.hpp"

#include <cstring>

namespace dbnet {
namespace {

std::size_t row_bytes(const FrameImage& image) {
    return 3 * static_cast<std::size_t>(image.view.width);
}

// Copies pixels behind what is cut already; returns where.
std::byte* write_pixels(const FrameImage& image, Cutter& at) {
    const std::size_t bytes = row_bytes(image);
    std::byte* const rows = at.cut<std::byte>(bytes * image.view.height);
    if (image.view.pitch == static_cast<std::ptrdiff_t>(bytes)) {
        std::memcpy(rows, image.view.data, bytes * image.view.height);
        return rows;
    }
    for (int y = 0; y < image.view.height; ++y) {
        std::memcpy(rows + y * bytes, image.view.data + y * image.view.pitch, bytes);
    }
    return rows;
}

ResizeTap* write_taps(int target, int source, Axis axis, Cutter& at) {
    const std::vector<ResizeTap> taps = make_taps(target, source, axis);
    ResizeTap* const written = at.cut<ResizeTap>(taps.size());
    std::copy(taps.begin(), taps.end(), written);
    return written;
}

}  // namespace

std::size_t frame_bytes(std::span<const FrameImage> images) {
    Cutter at(nullptr);
    FrameHeader(at, static_cast<int>(images.size()));
    for (const FrameImage& image : images) {
        at.cut<ResizeTap>(image.resized.width);
        at.cut<ResizeTap>(image.resized.height);
        if (!image.on_device) at.cut<std::byte>(row_bytes(image) * image.view.height);
    }
    return at.size();
}

void write_frame(std::span<const FrameImage> images, const PostprocessParams& params,
                 std::byte* host, std::byte* device) {
    Cutter at(host);
    const FrameHeader header(at, static_cast<int>(images.size()));
    const auto on_device = [&](auto* address) {
        const auto offset = reinterpret_cast<std::byte*>(address) - host;
        return reinterpret_cast<decltype(address)>(device + offset);
    };
    *header.params = {
        {map_threshold(params.binary_threshold, params.logits), params.min_side * params.min_side},
        params.score_threshold,
        params.unclip_ratio,
        params.min_side,
        params.max_candidates,
        params.logits};
    for (std::size_t i = 0; i < images.size(); ++i) {
        const auto& [view, resized, is_there] = images[i];
        DeviceImage& image = header.images[i];
        image = {view.data, nullptr, view.pitch,     0,
                 nullptr,   nullptr, resized.height, resized.width};
        image.column_taps = on_device(write_taps(resized.width, view.width, Axis::kColumns, at));
        image.row_taps = on_device(write_taps(resized.height, view.height, Axis::kRows, at));
        if (!is_there) {
            image.pixels =
                reinterpret_cast<const std::uint8_t*>(on_device(write_pixels(images[i], at)));
            image.pitch = static_cast<std::ptrdiff_t>(row_bytes(images[i]));
        }
        header.map_sizes[i] = {resized.height, resized.width};
        header.image_sizes[i] = {view.height, view.width};
    }
}

FrameResult read_frame(const Frame& frame, std::size_t bytes_per_value, std::byte* results) {
    Cutter at(results);
    const FrameBoxes found(at, frame.shape.batch, frame.capacity);
    FrameResult result;
    for (int i = 0; i < frame.shape.batch; ++i) {
        const TextBox* boxes = found.boxes + static_cast<std::size_t>(i) * frame.capacity;
        std::vector<ScoredQuad>& texts = result.texts.emplace_back();
        for (std::uint32_t k = 0; k < found.counts[i].num_boxes; ++k) {
            ScoredQuad& text = texts.emplace_back();
            for (int c = 0; c < 4; ++c) text.quad[c] = {boxes[k].quad[c][0], boxes[k].quad[c][1]};
            text.score = boxes[k].score;
        }
        result.num_dropped += found.counts[i].num_dropped;
    }
    const std::size_t num_pixels =
        static_cast<std::size_t>(frame.shape.batch) * frame.shape.height * frame.shape.width;
    if (frame.options.wants_maps) {
        const std::byte* maps = at.cut<std::byte>(num_pixels * bytes_per_value);
        result.maps.assign(maps, maps + num_pixels * bytes_per_value);
    }
    if (frame.options.wants_labels) {
        const auto* labels = at.cut<std::uint32_t>(num_pixels);
        result.labels.assign(labels, labels + num_pixels);
    }
    return result;
}

}  // namespace dbnet
