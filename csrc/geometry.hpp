// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "csrc/components.hpp"
#include "kernels/canvas.hpp"

namespace dbnet {

struct Point {
    float x, y;
};

/// Four corners, clockwise on the screen.
using Quad = std::array<Point, 4>;

/// A rotated rectangle: `origin` + a * `along` + b * `across` for a in [a_min, a_max], b in
/// [b_min, b_max], in pixels; `along` and `across` are unit vectors.
struct Rectangle {
    double origin_x, origin_y;
    double along_x, along_y;  // across is (-along_y, along_x)
    double a_min, a_max, b_min, b_max;

    double length() const { return a_max - a_min; }
    double breadth() const { return b_max - b_min; }
    double short_side() const;
    double area() const { return length() * breadth(); }

    /// Every side moved outwards by `distance` pixels.
    Rectangle grown(double distance) const;
    Quad corners() const;
};

/// Convex hull of a component's pixel centres, from the extents of its rows; no three in a line.
/// One or two points where the component is a pixel or a line. `hull` is written.
void convex_hull(std::span<const Run> component, std::vector<PixelPoint>& hull);

/// Rectangle of least area around a convex polygon; one of its sides lies on a side of the polygon.
/// Of several, the one turned furthest clockwise from upright, 0 to 90 degrees. Exact for sides
/// below 2^13 px.
Rectangle min_area_rectangle(std::span<const PixelPoint> hull);

/// The quad that begins with the text's top left corner and goes on clockwise: of the two leftmost
/// corners the upper one comes first.
Quad ordered(const Quad& quad);

/// The pixels that OpenCV's fillPoly fills for a quad with whole-number corners (here: truncated
/// towards zero) on a canvas of the quad's own bounding box, as DBNet's score is defined.
struct FilledQuad {
    int y;                       // of the first row
    std::vector<RowSpan> spans;  // one a row, in map pixels
};
void fill_quad(const Quad& quad, int map_height, int map_width, FilledQuad& filled);

}  // namespace dbnet
