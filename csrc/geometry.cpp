// SPDX-License-Identifier: Apache-2.0
#include "csrc/geometry.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace dbnet {
namespace {

std::int64_t cross(PixelPoint a, PixelPoint b, PixelPoint c) {
    return static_cast<std::int64_t>(b.x - a.x) * (c.y - a.y) -
           static_cast<std::int64_t>(b.y - a.y) * (c.x - a.x);
}

// Appends a point to a chain that turns clockwise on the screen, after removing the points that
// are no longer corners. The points before `floor` belong to another chain.
void extend_chain(std::vector<PixelPoint>& chain, std::size_t floor, PixelPoint point) {
    while (chain.size() >= floor + 2 && cross(chain[chain.size() - 2], chain.back(), point) <= 0) {
        chain.pop_back();
    }
    chain.push_back(point);
}

struct RowExtent {
    int y, left, right;  // right is the last pixel's x
};

// Computes the extents of a component's rows, top to bottom; runs come in raster order.
void row_extents(std::span<const Run> component, std::vector<RowExtent>& rows) {
    rows.clear();
    for (const Run& run : component) {
        if (rows.empty() || rows.back().y != run.y) {
            rows.push_back({run.y, run.begin, run.end - 1});
        } else {
            rows.back().right = run.end - 1;
        }
    }
}

// Turns a direction by multiples of 90 degrees to x > 0, y >= 0.
PixelPoint first_quadrant(int dx, int dy) {
    while (dx <= 0 || dy < 0) {
        const int turned = -dy;
        dy = dx;
        dx = turned;
    }
    return {dx, dy};
}

}  // namespace

double Rectangle::short_side() const { return std::min(length(), breadth()); }

Rectangle Rectangle::grown(double distance) const {
    Rectangle result = *this;
    result.a_min -= distance;
    result.a_max += distance;
    result.b_min -= distance;
    result.b_max += distance;
    return result;
}

Quad Rectangle::corners() const {
    const auto at = [this](double a, double b) {
        return Point{static_cast<float>(origin_x + a * along_x - b * along_y),
                     static_cast<float>(origin_y + a * along_y + b * along_x)};
    };
    return {at(a_min, b_min), at(a_max, b_min), at(a_max, b_max), at(a_min, b_max)};
}

void convex_hull(std::span<const Run> component, std::vector<PixelPoint>& hull) {
    thread_local std::vector<RowExtent> rows;
    row_extents(component, rows);
    hull.clear();
    for (const RowExtent& row : rows)
        extend_chain(hull, 0, {row.right, row.y});  // right side, down
    const std::size_t bottom = hull.size();
    for (auto row = rows.rbegin(); row != rows.rend(); ++row) {  // left side, up
        const PixelPoint point{row->left, row->y};
        const PixelPoint last = hull.back();
        if (point.x == last.x && point.y == last.y) continue;  // the last row is one pixel wide
        extend_chain(hull, bottom - 1, point);
    }
    const PixelPoint first = hull.front(), last = hull.back();
    if (hull.size() > 1 && first.x == last.x && first.y == last.y) hull.pop_back();
}

Rectangle min_area_rectangle(std::span<const PixelPoint> hull) {
    const std::size_t n = hull.size();
    Rectangle best{};
    if (n == 1) return {double(hull[0].x), double(hull[0].y), 1, 0, 0, 0, 0, 0};
    double best_area = std::numeric_limits<double>::infinity();
    PixelPoint best_turn{};
    // Rotating calipers: extreme points only move forwards while the side goes around once.
    std::size_t far_along = 1, far_across = 1, back_along = 0;
    for (std::size_t side = 0; side < n; ++side) {
        const PixelPoint p = hull[side], q = hull[(side + 1) % n];
        const std::int64_t dx = q.x - p.x, dy = q.y - p.y;
        const auto along = [&](std::size_t i) {
            return dx * (hull[i % n].x - p.x) + dy * (hull[i % n].y - p.y);
        };
        const auto across = [&](std::size_t i) {
            return dx * (hull[i % n].y - p.y) - dy * (hull[i % n].x - p.x);
        };
        far_along = std::max(far_along, side + 1);
        while (along(far_along + 1) > along(far_along)) ++far_along;
        far_across = std::max(far_across, far_along);
        while (across(far_across + 1) > across(far_across)) ++far_across;
        back_along = std::max(back_along, far_across);
        while (along(back_along + 1) < along(back_along)) ++back_along;
        const double length_squared = static_cast<double>(dx * dx + dy * dy);
        const std::int64_t a_min = along(back_along), a_max = along(far_along);
        const double area = static_cast<double>(a_max - a_min) *
                            static_cast<double>(across(far_across)) / length_squared;
        const PixelPoint turn = first_quadrant(static_cast<int>(dx), static_cast<int>(dy));
        // Of equal areas the one turned furthest, as OpenCV mostly chooses.
        if (area < best_area || (area == best_area && cross({0, 0}, best_turn, turn) > 0)) {
            best_area = area;
            best_turn = turn;
            const double length = std::sqrt(length_squared);
            best = {.origin_x = double(p.x),
                    .origin_y = double(p.y),
                    .along_x = double(dx) / length,
                    .along_y = double(dy) / length,
                    .a_min = double(a_min) / length,
                    .a_max = double(a_max) / length,
                    .b_min = 0,
                    .b_max = double(across(far_across)) / length};
        }
    }
    return best;
}

Quad ordered(const Quad& quad) {
    std::array<Point, 4> p = quad;
    std::sort(p.begin(), p.end(),
              [](Point a, Point b) { return a.x < b.x || (a.x == b.x && a.y < b.y); });
    if (p[1].y < p[0].y) std::swap(p[0], p[1]);
    if (p[3].y < p[2].y) std::swap(p[2], p[3]);
    return {p[0], p[2], p[3], p[1]};
}

// ---- OpenCV's fillPoly, to the pixel -----------------------------------------------------------

namespace {

using Product = std::int64_t;  // the CPU's maps have sides up to 2^15 pixels

// Adds the pixels of OpenCV's 8-connected line from a to b, both on the canvas.
void draw_line(PixelPoint a, PixelPoint b, std::vector<RowSpan>& spans) {
    if (b.x < a.x) std::swap(a, b);
    const Product dx = b.x - a.x, dy = std::abs(b.y - a.y);
    const int step = b.y >= a.y ? 1 : -1;
    for (Product j = 0; j <= dy; ++j) {
        const RowSpan columns = line_row(dx, dy, j);
        widen(spans[a.y + step * j], a.x + columns.begin, a.x + columns.end);
    }
}

/// One side of the polygon in fillPoly's scanline fill: x at each row in 16.16 fixed point.
struct ScanEdge {
    int y_begin, y_end;
    std::int64_t x, slope;

    std::int64_t x_at(int y) const { return x + slope * (y - y_begin); }
};

// Draws the sides of the quad and returns them for the scanline fill.
std::array<ScanEdge, 4> draw_sides(const Canvas& canvas, const std::array<PixelPoint, 4>& corners,
                                   std::vector<RowSpan>& spans) {
    std::array<ScanEdge, 4> edges{};
    for (int k = 0; k < 4; ++k) {
        PixelPoint a = corners[k], b = corners[(k + 1) % 4];
        const int y_begin = std::min(a.y, b.y), y_end = std::max(a.y, b.y);
        if (clip_line<Product>(canvas, a, b)) draw_line(a, b, spans);
        if (a.y == b.y) {  // clipped to a row: OpenCV fills with the original corners
            a = corners[k];
            b = corners[(k + 1) % 4];
        }
        if (y_begin == y_end) continue;
        // As in OpenCV: x along the clipped side, from its upper end, but the rows of the unclipped
        // side.
        const PixelPoint upper = corners[k].y == y_begin ? a : b;
        const std::int64_t slope = (static_cast<std::int64_t>(b.x - a.x) * 65536) / (b.y - a.y);
        const std::int64_t x = static_cast<std::int64_t>(upper.x) * 65536;
        edges[k] = {y_begin, y_end, x + slope * (y_begin - upper.y), slope};
    }
    return edges;
}

// Fills between the sides; this adds pixels only where the canvas cuts a side off.
void fill_between(const Canvas& canvas, const std::array<ScanEdge, 4>& edges,
                  std::vector<RowSpan>& spans) {
    for (int y = 0; y < canvas.height; ++y) {
        std::int64_t x[4];
        int num = 0;
        for (const ScanEdge& edge : edges) {
            if (y >= edge.y_begin && y < edge.y_end) x[num++] = edge.x_at(y);
        }
        if (num != 2) continue;
        const int begin = static_cast<int>((std::min(x[0], x[1]) + 65535) >> 16);
        const int end = static_cast<int>(std::max(x[0], x[1]) >> 16) + 1;
        if (begin < canvas.width && end > 0 && begin < end) {
            widen(spans[y], std::max(begin, 0), std::min(end, canvas.width));
        }
    }
}

}  // namespace

void fill_quad(const Quad& quad, int map_height, int map_width, FilledQuad& filled) {
    const auto [x_low, x_high] = std::minmax({quad[0].x, quad[1].x, quad[2].x, quad[3].x});
    const auto [y_low, y_high] = std::minmax({quad[0].y, quad[1].y, quad[2].y, quad[3].y});
    const auto on_map = [](float v, int side) {
        return static_cast<int>(std::clamp(v, 0.f, static_cast<float>(side - 1)));
    };
    const int left = on_map(std::floor(x_low), map_width);
    const int top = on_map(std::floor(y_low), map_height);
    const Canvas canvas{left, top, on_map(std::ceil(x_high), map_width) - left + 1,
                        on_map(std::ceil(y_high), map_height) - top + 1};
    std::array<PixelPoint, 4> corners;
    for (int k = 0; k < 4; ++k) {
        corners[k] = {static_cast<int>(quad[k].x - static_cast<float>(left)),
                      static_cast<int>(quad[k].y - static_cast<float>(top))};
    }
    filled.y = top;
    filled.spans.assign(canvas.height, {canvas.width, 0});
    fill_between(canvas, draw_sides(canvas, corners, filled.spans), filled.spans);
    for (RowSpan& span : filled.spans) {
        span.begin += left;
        span.end += left;
    }
}

}  // namespace dbnet
