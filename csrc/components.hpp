// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace dbnet {

/// The network's output for one image, (height, width) in host memory, row-major, with `pitch`
/// values from one row to the next: float32, or for large images bytes, the probability times 255.
template <class Value>
struct MapView {
    const Value* data;
    int height, width;
    std::ptrdiff_t pitch;

    const Value* row(int y) const { return data + y * pitch; }
};

using FloatMap = MapView<float>;
using ByteMap = MapView<std::uint8_t>;

/// A run of foreground pixels: [begin, end) of row y.
struct Run {
    int y, begin, end;
};

/// The 8-connected components of a binary map, numbered in raster order of their first pixel. Each
/// is the span of its runs, in raster order.
class Components {
public:
    /// `offsets`: index of the first run of each component, and the number of runs.
    Components(std::vector<Run> runs, std::vector<std::uint32_t> offsets)
        : runs_(std::move(runs)), offsets_(std::move(offsets)) {}

    /// Number of components.
    std::size_t size() const { return offsets_.size() - 1; }
    /// Runs of component i, in raster order.
    std::span<const Run> operator[](std::size_t i) const {
        return {runs_.data() + offsets_[i], runs_.data() + offsets_[i + 1]};
    }

private:
    std::vector<Run> runs_;
    std::vector<std::uint32_t> offsets_;
};

/// Find the components of the pixels greater than `threshold`. NaN is background. Linear in the
/// number of pixels.
Components find_components(const FloatMap& map, float threshold);
Components find_components(const ByteMap& map, std::uint8_t threshold);

}  // namespace dbnet
