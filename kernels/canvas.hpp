// SPDX-License-Identifier: Apache-2.0
//
// Line clipping and Bresenham rows of OpenCV's fillPoly, shared by the CPU and the GPU code.
// `Product` is a signed integer wide enough for (2 * height + 1) * width of the lines: int for the
// GPU's maps of up to 2^13 pixels per side, std::int64_t for the CPU's 2^15.
#pragma once

#if defined(__CUDACC__)
#define DBNET_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define DBNET_HOST_DEVICE inline
#endif

namespace dbnet {

/// A pixel, by whole-number coordinates.
struct PixelPoint {
    int x, y;
};

/// Pixels [begin, end) of one row; empty where end <= begin.
struct RowSpan {
    int begin, end;
};

/// The bounding box of a quad, cut off at the map's edges. Points on it are relative to (left,
/// top).
struct Canvas {
    int left, top, width, height;

    /// Sides of the canvas that a point lies beyond, as bits: 1 left, 2 right, 4 above, 8 below.
    DBNET_HOST_DEVICE int outcode(PixelPoint p) const {
        return (p.x < 0) + (p.x >= width) * 2 + (p.y < 0) * 4 + (p.y >= height) * 8;
    }
};

/// Coordinate at `edge` of the line from `from` (at `start` on the other axis) to `to` (at `end`).
template <class Product>
DBNET_HOST_DEVICE int intersect(int from, int to, int edge, int start, int end) {
    return from +
           static_cast<int>(static_cast<Product>(edge - start) * (to - from) / (end - start));
}

/// Move an end that lies above (code 4) or below (code 8) the canvas onto its edge.
template <class Product>
DBNET_HOST_DEVICE void move_to_row(const Canvas& canvas, int code, PixelPoint& end,
                                   PixelPoint other) {
    const int edge = code < 8 ? 0 : canvas.height - 1;
    end = {intersect<Product>(end.x, other.x, edge, end.y, other.y), edge};
}

/// Move an end that lies left (code 1) or right (code 2) of the canvas onto its edge.
template <class Product>
DBNET_HOST_DEVICE void move_to_column(const Canvas& canvas, int code, PixelPoint& end,
                                      PixelPoint other) {
    const int edge = code == 1 ? 0 : canvas.width - 1;
    end = {edge, intersect<Product>(end.y, other.y, edge, end.x, other.x)};
}

/// Clip a line to the canvas exactly as cv::clipLine does, rounding included. Returns whether it is
/// visible; its ends may have moved even where it is not, and fillPoly continues with them.
template <class Product>
DBNET_HOST_DEVICE bool clip_line(const Canvas& canvas, PixelPoint& a, PixelPoint& b) {
    int code_a = canvas.outcode(a), code_b = canvas.outcode(b);
    if ((code_a & code_b) != 0 || (code_a | code_b) == 0) return (code_a | code_b) == 0;
    if (code_a & 12) {
        move_to_row<Product>(canvas, code_a, a, b);
        code_a = canvas.outcode(a) & 3;
    }
    if (code_b & 12) {
        move_to_row<Product>(canvas, code_b, b, a);
        code_b = canvas.outcode(b) & 3;
    }
    if ((code_a & code_b) != 0) return false;
    if (code_a != 0) move_to_column<Product>(canvas, code_a, a, b);
    if (code_b != 0) move_to_column<Product>(canvas, code_b, b, a);
    return true;
}

/// Pixels of OpenCV's 8-connected line in one row, as columns from the line's left end: row `j`
/// from that end, 0 <= j <= dy, of a line that spans dx columns and dy rows. Bresenham's algorithm
/// in closed form: each row is known without stepping through the others.
template <class Product>
DBNET_HOST_DEVICE RowSpan line_row(Product dx, Product dy, Product j) {
    Product first = 0, last = dx;
    if (dy > dx) {
        const Product numerator = 2 * dx * j - dy;
        first = last = numerator <= 0 ? 0 : (numerator + 2 * dy - 1) / (2 * dy);
    } else if (dy > 0) {
        if (j > 0) first = (2 * j - 1) * dx / (2 * dy) + 1;
        const Product reached = (2 * j + 1) * dx / (2 * dy);
        last = reached < dx ? reached : dx;
    }
    return {static_cast<int>(first), static_cast<int>(last) + 1};
}

/// Extend a span to cover [begin, end) as well.
DBNET_HOST_DEVICE void widen(RowSpan& span, int begin, int end) {
    span.begin = begin < span.begin ? begin : span.begin;
    span.end = end > span.end ? end : span.end;
}

}  // namespace dbnet
