// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "csrc/components.hpp"
#include "kernels/canvas.hpp"

namespace dbnet {

/// A point (x, y) in pixels.
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

    double length() const { return a_max - a_min; }   // along
    double breadth() const { return b_max - b_min; }  // across
    double short_side() const;
    double area() const { return length() * breadth(); }

    /// The rectangle with every side moved outwards by `distance` pixels.
    Rectangle grown(double distance) const;
    /// The corners, clockwise on the screen.
    Quad corners() const;
};

/// Compute the convex hull of a component's pixel centres, from the extents of its rows. No three
/// points of `hull` lie on a line; a component that is a pixel or a line gives one or two points.
void convex_hull(std::span<const Run> component, std::vector<PixelPoint>& hull);

/// Min-area rectangle around a convex polygon; one of its sides lies on a side of the polygon. Of
/// several with equal area, the one turned furthest clockwise from upright, 0 to 90 degrees. Areas
/// are exact for sides below 2^13 px.
Rectangle min_area_rectangle(std::span<const PixelPoint> hull);

/// Order the corners clockwise from the text's top left: the upper one of the two leftmost corners.
Quad ordered(const Quad& quad);

/// The filled pixels of a quad.
struct FilledQuad {
    int y;                       // of the first row
    std::vector<RowSpan> spans;  // one per row, in map pixels
};

/// Compute the pixels that OpenCV's fillPoly fills, as DBNet's score is defined: with the quad's
/// corners truncated to whole numbers, on a canvas of its bounding box within the map.
void fill_quad(const Quad& quad, int map_height, int map_width, FilledQuad& filled);

}  // namespace dbnet
