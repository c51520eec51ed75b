// SPDX-License-Identifier: Apache-2.0
//
// Every label follows from the distance of a pixel to the nearest edge of the outline. Only pixels
// closer than D to an edge need that distance; for the others it is enough to know whether they lie
// inside. So each edge visits only the pixels around it, row by row.
#include "csrc/targets.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "csrc/cpu_features.hpp"

namespace dbnet {
namespace {

// ---- rows: the same code, compiled for any CPU and for AVX2 -----------------------------------

#if defined(__GNUC__)
#define DBNET_INLINE inline __attribute__((always_inline))
#else
#define DBNET_INLINE inline
#endif

// An edge of an outline: (dx, dy) from `start`.
struct Edge {
    Corner start;
    double dx, dy, scale;  // scale: 1 / squared length
};

// Lowers squared[x] to the squared distance from (x, y) to the edge, for x in [begin, end).
DBNET_INLINE void lower_to_edge(Edge edge, int y, int begin, int end, double* squared) {
    const double from_y = y - edge.start.y;
    for (int x = begin; x < end; ++x) {
        const double from_x = x - edge.start.x;
        double along = (from_x * edge.dx + from_y * edge.dy) * edge.scale;
        along = along < 0 ? 0 : along;
        along = along > 1 ? 1 : along;
        const double to_x = from_x - along * edge.dx, to_y = from_y - along * edge.dy;
        const double value = to_x * to_x + to_y * to_y;
        squared[x] = value < squared[x] ? value : squared[x];
    }
}

// One row of an outline's window, and the rows of the maps that it is drawn into.
struct Row {
    const double* squared;
    const float* inside;  // 1 or 0
    float* shrink_map;
    float* thresh_map;
    float* thresh_mask;
};

// Draws one row. `distance` is D; shrunk text begins at squared distance `squared_depth` from the
// edge.
DBNET_INLINE void draw_text(Row row, int width, double distance, double squared_depth) {
    const double squared_distance = distance * distance;
    const auto per_distance = static_cast<float>(1 / distance);
    const double* __restrict squared = row.squared;
    const float* __restrict inside = row.inside;
    float* __restrict shrink_map = row.shrink_map;
    float* __restrict thresh_map = row.thresh_map;
    float* __restrict thresh_mask = row.thresh_mask;
    for (int x = 0; x < width; ++x) {
        const float deep = squared[x] >= squared_depth ? inside[x] : 0.0f;
        const float near = squared[x] <= squared_distance ? 1.0f : inside[x];
        const float closeness = 1 - std::sqrt(static_cast<float>(squared[x])) * per_distance;
        shrink_map[x] = deep > shrink_map[x] ? deep : shrink_map[x];
        thresh_mask[x] = near > thresh_mask[x] ? near : thresh_mask[x];
        thresh_map[x] = closeness > thresh_map[x] ? closeness : thresh_map[x];
    }
}

#if defined(DBNET_HAS_AVX2_CODE)
DBNET_AVX2 void lower_to_edge_avx2(Edge edge, int y, int begin, int end, double* squared) {
    lower_to_edge(edge, y, begin, end, squared);
}
DBNET_AVX2 void draw_text_avx2(Row row, int width, double distance, double squared_depth) {
    draw_text(row, width, distance, squared_depth);
}
#else
constexpr auto& lower_to_edge_avx2 = lower_to_edge;
constexpr auto& draw_text_avx2 = draw_text;
#endif

// ---- outlines ---------------------------------------------------------------------------------

struct Window {
    int x_begin, x_end, y_begin, y_end;

    int width() const { return x_end - x_begin; }
    bool empty() const { return x_begin >= x_end || y_begin >= y_end; }
};

// Pixels from floor(low) to ceil(high), clipped to `bounds`.
Window window_around(Corner low, Corner high, const Window& bounds) {
    const auto clamp = [](double value, int first, int last) {
        return static_cast<int>(std::clamp<double>(value, first, last));
    };
    return {clamp(std::floor(low.x), bounds.x_begin, bounds.x_end),
            clamp(std::ceil(high.x) + 1, bounds.x_begin, bounds.x_end),
            clamp(std::floor(low.y), bounds.y_begin, bounds.y_end),
            clamp(std::ceil(high.y) + 1, bounds.y_begin, bounds.y_end)};
}

struct Measures {
    double area, perimeter;
    Corner low, high;
};

Measures measure(std::span<const Corner> corners) {
    double doubled_area = 0, perimeter = 0;
    Corner low = corners[0], high = corners[0];
    for (std::size_t i = 0; i < corners.size(); ++i) {
        const Corner a = corners[i], b = corners[(i + 1) % corners.size()];
        doubled_area += a.x * b.y - a.y * b.x;
        perimeter += std::sqrt((b.x - a.x) * (b.x - a.x) + (b.y - a.y) * (b.y - a.y));
        low = {std::min(low.x, a.x), std::min(low.y, a.y)};
        high = {std::max(high.x, a.x), std::max(high.y, a.y)};
    }
    return {std::abs(doubled_area) / 2, perimeter, low, high};
}

// For each pixel of an outline's window: the squared distance to the nearest edge, where that is
// less than D, and whether it lies inside. Reused for all outlines, since allocating costs more
// than the computation.
class Field {
public:
    void compute(Window window, std::span<const Corner> corners, double reach) {
        window_ = window;
        const std::size_t pixels =
            static_cast<std::size_t>(window.width()) * (window.y_end - window.y_begin);
        squared_.assign(pixels, std::numeric_limits<double>::infinity());
        inside_.assign(pixels, 0);
        for (std::size_t i = 0; i < corners.size(); ++i) {
            const Corner a = corners[i], b = corners[(i + 1) % corners.size()];
            add_distances(a, b, reach);
            add_crossings(a, b);
        }
        fill_inside();
    }

    const double* squared(int y) const { return squared_.data() + offset(y); }
    const float* inside(int y) const { return inside_.data() + offset(y); }

    /// Whether any inside pixel is at least this far from every edge.
    bool reaches(double squared_depth) const {
        for (std::size_t i = 0; i < squared_.size(); ++i) {
            if (inside_[i] != 0 && squared_[i] >= squared_depth) return true;
        }
        return false;
    }

private:
    std::size_t offset(int y) const {
        return static_cast<std::size_t>(y - window_.y_begin) * window_.width();
    }

    void add_distances(Corner a, Corner b, double reach) {
        const double dx = b.x - a.x, dy = b.y - a.y;
        const Edge edge{a, dx, dy, 1 / std::max(dx * dx + dy * dy, 1e-12)};
        const Window near =
            window_around({std::min(a.x, b.x) - reach, std::min(a.y, b.y) - reach},
                          {std::max(a.x, b.x) + reach, std::max(a.y, b.y) + reach}, window_);
        for (int y = near.y_begin; y < near.y_end; ++y) {
            double* row = squared_.data() + offset(y) - window_.x_begin;
            if (cpu_has_avx2()) {
                lower_to_edge_avx2(edge, y, near.x_begin, near.x_end, row);
            } else {
                lower_to_edge(edge, y, near.x_begin, near.x_end, row);
            }
        }
    }

    // Counts a crossing at the first pixel right of the edge, in each row that it crosses.
    void add_crossings(Corner a, Corner b) {
        if (a.y == b.y) return;
        const auto row_at = [&](double y) {
            return static_cast<int>(
                std::clamp<double>(std::ceil(y), window_.y_begin, window_.y_end));
        };
        const int end = row_at(std::max(a.y, b.y));
        for (int y = row_at(std::min(a.y, b.y)); y < end; ++y) {
            const double crossing = a.x + (y - a.y) * (b.x - a.x) / (b.y - a.y);
            const double first = std::ceil(crossing) - window_.x_begin;
            if (first < window_.width()) {
                inside_[offset(y) + static_cast<std::size_t>(std::max(first, 0.0))] += 1;
            }
        }
    }

    void fill_inside() {
        for (int y = window_.y_begin; y < window_.y_end; ++y) {
            float* row = inside_.data() + offset(y);
            int crossings = 0;
            for (int x = 0; x < window_.width(); ++x) {
                crossings += static_cast<int>(row[x]);
                row[x] = static_cast<float>(crossings & 1);
            }
        }
    }

    Window window_{};
    std::vector<double> squared_;
    std::vector<float> inside_;  // 1 or 0
};

void draw_outline(const Outline& outline, Size size, const TargetParams& params,
                  const TargetMaps& maps, Field& field) {
    const Measures shape = measure(outline.corners);
    if (!(shape.area > 0)) return;
    const double distance =
        shape.area * (1 - params.shrink_ratio * params.shrink_ratio) / shape.perimeter;
    const Window window = window_around({shape.low.x - distance, shape.low.y - distance},
                                        {shape.high.x + distance, shape.high.y + distance},
                                        {0, size.width, 0, size.height});
    if (window.empty()) return;
    field.compute(window, outline.corners, distance);
    const double depth = std::max(distance - params.border_px, 0.0);
    const bool vanished = outline.ignore || !field.reaches(depth * depth);
    for (int y = window.y_begin; y < window.y_end; ++y) {
        const std::size_t first = static_cast<std::size_t>(y) * size.width + window.x_begin;
        const Row row{field.squared(y), field.inside(y), maps.shrink_map + first,
                      maps.thresh_map + first, maps.thresh_mask + first};
        if (vanished) {
            float* shrink_mask = maps.shrink_mask + first;
            for (int x = 0; x < window.width(); ++x) shrink_mask[x] *= 1 - row.inside[x];
        } else if (cpu_has_avx2()) {
            draw_text_avx2(row, window.width(), distance, depth * depth);
        } else {
            draw_text(row, window.width(), distance, depth * depth);
        }
    }
}

}  // namespace

void draw_targets(std::span<const Outline> outlines, Size size, const TargetParams& params,
                  const TargetMaps& maps) {
    const std::size_t pixels = static_cast<std::size_t>(size.height) * size.width;
    std::fill_n(maps.shrink_map, pixels, 0.0f);
    std::fill_n(maps.shrink_mask, pixels, 1.0f);
    std::fill_n(maps.thresh_map, pixels, 0.0f);
    std::fill_n(maps.thresh_mask, pixels, 0.0f);
    Field field;
    for (const Outline& outline : outlines) draw_outline(outline, size, params, maps, field);
    const auto span = static_cast<float>(params.thresh_max - params.thresh_min);
    const auto low = static_cast<float>(params.thresh_min);
    for (std::size_t i = 0; i < pixels; ++i) maps.thresh_map[i] = maps.thresh_map[i] * span + low;
}

}  // namespace dbnet
