// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace dbnet {

/// A network's output for one image in host memory, (height, width) float32, row-major; `pitch`
/// values from one row to the next.
struct MapView {
    const float* data;
    int height, width;
    std::ptrdiff_t pitch;

    const float* row(int y) const { return data + y * pitch; }
};

/// Foreground pixels [begin, end) of one row.
struct Run {
    int y, begin, end;
};

/// The 8-connected components of a binary map, each as its runs in raster order.
/// Components are numbered in raster order of their first pixel.
class Components {
public:
    Components(std::vector<Run> runs, std::vector<std::uint32_t> offsets)
        : runs_(std::move(runs)), offsets_(std::move(offsets)) {}

    std::size_t size() const { return offsets_.size() - 1; }
    std::span<const Run> operator[](std::size_t i) const {
        return {runs_.data() + offsets_[i], runs_.data() + offsets_[i + 1]};
    }

private:
    std::vector<Run> runs_;
    std::vector<std::uint32_t> offsets_;  // of each component's first run, and the end
};

/// Label the pixels greater than `threshold`. NaN is background. Linear in pixels.
Components find_components(const MapView& map, float threshold);

}  // namespace dbnet
