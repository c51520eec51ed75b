// SPDX-License-Identifier: Apache-2.0
#include "csrc/frame.hpp"

#include <cstring>

namespace dbnet {
namespace {

// Bytes of a row, without padding, of BGR pixels or of either plane of NV12.
std::size_t row_bytes(const FrameImage& image) {
    return (image.chroma == nullptr ? 3 : 1) * static_cast<std::size_t>(image.view.width);
}

int num_chroma_rows(const FrameImage& image) {
    return image.chroma == nullptr ? 0 : image.view.height / 2;
}

// Copies rows behind what is cut already; returns where.
std::uint8_t* write_rows(const std::uint8_t* from, std::ptrdiff_t pitch, std::size_t bytes,
                         int num_rows, Cutter& at) {
    std::uint8_t* const rows = at.cut<std::uint8_t>(bytes * num_rows);
    if (pitch == static_cast<std::ptrdiff_t>(bytes)) {
        std::memcpy(rows, from, bytes * num_rows);
        return rows;
    }
    for (int y = 0; y < num_rows; ++y) std::memcpy(rows + y * bytes, from + y * pitch, bytes);
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
        if (image.on_device) continue;
        at.cut<std::uint8_t>(row_bytes(image) * image.view.height);
        at.cut<std::uint8_t>(row_bytes(image) * num_chroma_rows(image));
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
        const auto& [view, resized, is_there, chroma, chroma_pitch] = images[i];
        DeviceImage& image = header.images[i];
        image = {view.data, chroma,  view.pitch,     chroma_pitch,
                 nullptr,   nullptr, resized.height, resized.width};
        image.column_taps = on_device(write_taps(resized.width, view.width, Axis::kColumns, at));
        image.row_taps = on_device(write_taps(resized.height, view.height, Axis::kRows, at));
        if (!is_there) {
            const std::size_t bytes = row_bytes(images[i]);
            image.pixels = on_device(write_rows(view.data, view.pitch, bytes, view.height, at));
            image.pitch = static_cast<std::ptrdiff_t>(bytes);
        }
        if (!is_there && chroma != nullptr) {
            const int num_rows = num_chroma_rows(images[i]);
            image.chroma =
                on_device(write_rows(chroma, chroma_pitch, row_bytes(images[i]), num_rows, at));
            image.chroma_pitch = image.pitch;
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
