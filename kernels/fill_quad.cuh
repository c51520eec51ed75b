// SPDX-License-Identifier: Apache-2.0
//
// The pixels that OpenCV's fillPoly fills for a quad, row by row: whole-number corners on a canvas
// of the quad's bounding box, with the same results as fill_quad of csrc/geometry.cpp.
#pragma once

#include "kernels/canvas.hpp"
#include "kernels/min_rectangle.cuh"
#include "kernels/portable.hpp"

namespace dbnet {

/// Clamp a coordinate to the pixels of a map's side.
__device__ __forceinline__ int clamp_to_map(float value, int side) {
    return static_cast<int>(fminf(fmaxf(value, 0.f), static_cast<float>(side - 1)));
}

/// The bounding box of a quad within the map.
__device__ __forceinline__ Canvas make_canvas(const PointF (&quad)[4], MapSize size) {
    float x_low = quad[0].x, x_high = quad[0].x, y_low = quad[0].y, y_high = quad[0].y;
    for (int k = 1; k < 4; ++k) {
        x_low = fminf(x_low, quad[k].x);
        x_high = fmaxf(x_high, quad[k].x);
        y_low = fminf(y_low, quad[k].y);
        y_high = fmaxf(y_high, quad[k].y);
    }
    const int left = clamp_to_map(floorf(x_low), size.width);
    const int top = clamp_to_map(floorf(y_low), size.height);
    return {left, top, clamp_to_map(ceilf(x_high), size.width) - left + 1,
            clamp_to_map(ceilf(y_high), size.height) - top + 1};
}

/// A corner relative to the canvas, truncated towards zero.
__device__ __forceinline__ PixelPoint to_canvas(const Canvas& canvas, PointF point) {
    return {static_cast<int>(point.x - static_cast<float>(canvas.left)),
            static_cast<int>(point.y - static_cast<float>(canvas.top))};
}

/// One side of a quad: a line to draw, and an edge of the scanline fill.
struct QuadSide {
    PixelPoint start;  // of the line: its left end
    int dx, dy, step;  // the line has dy rows in direction `step`; dy < 0: it is not drawn
    int fill_begin, fill_end;
    long long fill_x, fill_slope;  // x at fill_begin, and its step per row, in 16.16 fixed point
};

/// Clip and prepare the side between two corners.
__device__ __forceinline__ QuadSide make_side(const Canvas& canvas, PixelPoint from,
                                              PixelPoint to) {
    PixelPoint a = from, b = to;
    const bool is_drawn = clip_line<int>(canvas, a, b);
    const PixelPoint left = b.x < a.x ? b : a, right = b.x < a.x ? a : b;
    const int rows = right.y - left.y;
    QuadSide side{left, right.x - left.x, rows < 0 ? -rows : rows, rows < 0 ? -1 : 1, 0, 0, 0, 0};
    if (!is_drawn) side.dy = -1;
    if (from.y == to.y) return side;
    if (a.y == b.y) {  // clipped to a row: OpenCV fills with the original corners
        a = from;
        b = to;
    }
    side.fill_begin = from.y < to.y ? from.y : to.y;
    side.fill_end = from.y < to.y ? to.y : from.y;
    const PixelPoint upper = from.y < to.y ? a : b;
    side.fill_slope = static_cast<long long>(b.x - a.x) * 65536 / (b.y - a.y);
    side.fill_x =
        static_cast<long long>(upper.x) * 65536 + side.fill_slope * (side.fill_begin - upper.y);
    return side;
}

// Adds the pixels of the side's line in row y.
__device__ __forceinline__ void draw_row(const QuadSide& side, int y, RowSpan& span) {
    const int j = side.step * (y - side.start.y);
    if (j < 0 || j > side.dy) return;
    const RowSpan columns = line_row(side.dx, side.dy, j);
    widen(span, side.start.x + columns.begin, side.start.x + columns.end);
}

/// The filled pixels of row y of the canvas, as columns of the map.
__device__ __forceinline__ RowSpan fill_row(const Canvas& canvas, Shared<QuadSide> sides, int y) {
    RowSpan span{canvas.width, 0};
    long long low = 0, high = 0;
    int num = 0;
    for (int k = 0; k < 4; ++k) {
        const QuadSide side = sides[k];
        draw_row(side, y, span);
        if (y < side.fill_begin || y >= side.fill_end) continue;
        const long long x = side.fill_x + side.fill_slope * (y - side.fill_begin);
        low = num == 0 || x < low ? x : low;
        high = num == 0 || x > high ? x : high;
        ++num;
    }
    if (num == 2) {
        const int begin = static_cast<int>((low + 65535) >> 16);
        const int end = static_cast<int>(high >> 16) + 1;
        if (begin < canvas.width && end > 0 && begin < end) {
            widen(span, begin > 0 ? begin : 0, end < canvas.width ? end : canvas.width);
        }
    }
    return {canvas.left + span.begin, canvas.left + span.end};
}

}  // namespace dbnet
