// SPDX-License-Identifier: Apache-2.0
#include "csrc/batch.hpp"

#include <cstring>

namespace dbnet {
namespace {

// Bytes per row, without padding, of a BGR image or of either plane of NV12.
std::size_t row_bytes(const BatchImage& image) {
    return (image.chroma == nullptr ? 3 : 1) * static_cast<std::size_t>(image.view.width);
}

int num_chroma_rows(const BatchImage& image) {
    return image.chroma == nullptr ? 0 : image.view.height / 2;
}

// Copies rows of `bytes` bytes without their padding.
std::uint8_t* write_rows(const std::uint8_t* from, std::ptrdiff_t pitch, std::size_t bytes,
                         int num_rows, Arena& arena) {
    std::uint8_t* const rows = arena.allocate<std::uint8_t>(bytes * num_rows);
    if (pitch == static_cast<std::ptrdiff_t>(bytes)) {
        std::memcpy(rows, from, bytes * num_rows);
        return rows;
    }
    for (int y = 0; y < num_rows; ++y) std::memcpy(rows + y * bytes, from + y * pitch, bytes);
    return rows;
}

// Taps are read in pairs: a copy of the last follows an odd number of them.
ResizeTap* allocate_taps(int target, Arena& arena) {
    return arena.allocate<ResizeTap>(target + target % 2);
}

ResizeTap* write_taps(int target, int source, Axis axis, Arena& arena) {
    std::vector<ResizeTap> taps = make_taps(target, source, axis);
    if (target % 2 == 1) taps.push_back(taps.back());
    ResizeTap* const written = allocate_taps(target, arena);
    std::copy(taps.begin(), taps.end(), written);
    return written;
}

}  // namespace

std::size_t shape_bytes(const PipelineConfig& config, const Shape& shape, int capacity,
                        bool has_input) {
    Arena arena(nullptr);
    ShapeBuffers(arena, config, shape, capacity, has_input);
    return arena.size();
}

ReadyShape allocate_shape(const PipelineConfig& config, const Shape& shape, int capacity,
                          bool has_input) {
    DeviceBuffer memory;
    memory.reserve(shape_bytes(config, shape, capacity, has_input));
    Arena arena(memory.data());
    const ShapeBuffers buffers(arena, config, shape, capacity, has_input);
    return {std::move(memory), {}, buffers, nullptr, 0, {}};
}

std::size_t upload_bytes(std::span<const BatchImage> images) {
    Arena arena(nullptr);
    UploadHeader(arena, static_cast<int>(images.size()));
    for (const BatchImage& image : images) {
        allocate_taps(image.resized.width, arena);
        allocate_taps(image.resized.height, arena);
        if (image.on_device) continue;
        arena.allocate<std::uint8_t>(row_bytes(image) * image.view.height);
        arena.allocate<std::uint8_t>(row_bytes(image) * num_chroma_rows(image));
    }
    return arena.size();
}

void write_upload(std::span<const BatchImage> images, const PostprocessParams& params,
                  std::byte* host, std::byte* device) {
    Arena arena(host);
    const UploadHeader header(arena, static_cast<int>(images.size()));
    // Address of an array once the upload has been copied to the device.
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
        const auto& [view, resized, already_on_device, chroma, chroma_pitch, colors] = images[i];
        DeviceImage& image = header.images[i];
        image = {view.data,
                 chroma,
                 on_device(write_taps(resized.width, view.width, Axis::kColumns, arena)),
                 on_device(write_taps(resized.height, view.height, Axis::kRows, arena)),
                 static_cast<std::int32_t>(view.pitch),
                 static_cast<std::int32_t>(chroma_pitch),
                 resized.height,
                 resized.width,
                 colors};
        if (!already_on_device) {
            const std::size_t bytes = row_bytes(images[i]);
            image.pixels = on_device(write_rows(view.data, view.pitch, bytes, view.height, arena));
            image.pitch = static_cast<std::int32_t>(bytes);
        }
        if (!already_on_device && chroma != nullptr) {
            const int num_rows = num_chroma_rows(images[i]);
            image.chroma =
                on_device(write_rows(chroma, chroma_pitch, row_bytes(images[i]), num_rows, arena));
            image.chroma_pitch = image.pitch;
        }
        header.map_sizes[i] = {resized.height, resized.width};
        header.image_sizes[i] = {view.height, view.width};
    }
}

void copy_parts(const ShapeBuffers& maps, const BatchOptions& options, std::size_t bytes_per_value,
                cudaStream_t stream) {
    const auto address = [&](const ShapeBuffers& of, std::size_t map, int y, int x) {
        return of.output + ((map * of.shape.height + y) * of.shape.width + x) * bytes_per_value;
    };
    for (std::size_t i = 0; i < options.parts.size(); ++i) {
        const auto& [y, x, height, width, joined_y, joined_x] = options.parts[i];
        const ShapeBuffers& joined = options.joined.shape->buffers;
        cuda_check(cudaMemcpy2DAsync(address(joined, 0, joined_y, joined_x),
                                     joined.shape.width * bytes_per_value, address(maps, i, y, x),
                                     maps.shape.width * bytes_per_value, width * bytes_per_value,
                                     height, cudaMemcpyDefault, stream));
    }
}

BatchResult read_result(const Batch& batch, std::size_t bytes_per_value, std::byte* results) {
    Arena arena(results);
    const BatchBoxes found(arena, batch.shape.batch, batch.capacity);
    BatchResult result;
    for (int i = 0; i < batch.shape.batch; ++i) {
        const TextBox* boxes = found.boxes + static_cast<std::size_t>(i) * batch.capacity;
        std::vector<ScoredQuad>& texts = result.texts.emplace_back();
        for (std::uint32_t k = 0; k < found.counts[i].num_boxes; ++k) {
            ScoredQuad& text = texts.emplace_back();
            for (int c = 0; c < 4; ++c) text.quad[c] = {boxes[k].quad[c][0], boxes[k].quad[c][1]};
            text.score = boxes[k].score;
        }
        result.num_dropped += found.counts[i].num_dropped;
    }
    const std::size_t num_pixels =
        static_cast<std::size_t>(batch.shape.batch) * batch.shape.height * batch.shape.width;
    if (batch.options.wants_maps) {
        const std::byte* maps = arena.allocate<std::byte>(num_pixels * bytes_per_value);
        result.maps.assign(maps, maps + num_pixels * bytes_per_value);
    }
    if (batch.options.wants_labels) {
        const auto* labels = arena.allocate<std::uint32_t>(num_pixels);
        result.labels.assign(labels, labels + num_pixels);
    }
    return result;
}

}  // namespace dbnet
