// SPDX-License-Identifier: Apache-2.0
//
// The pixels that OpenCV's fillPoly fills for a quad with whole-number corners on a canvas of the
// quad's own bounding box, a row at a time: the rules of csrc/geometry.cpp, which tells why.
#pragma once

#include "kernels/min_rectangle.cuh"
#include "kernels/portable.hpp"

namespace dbnet {

struct Pixel2 {
    int x, y;
};

/// The quad's bounding box, cut off at the map's edges.
struct Canvas {
    int left, top, width, height;

    // Which sides of the canvas a point is beyond: 1 left, 2 right, 4 above, 8 below.
    __device__ __forceinline__ int outcode(Pixel2 p) const {
        return (p.x < 0) + (p.x >= width) * 2 + (p.y < 0) * 4 + (p.y >= height) * 8;
    }
};

__device__ __forceinline__ int clamp_to_map(float value, int side) {
    return static_cast<int>(fminf(fmaxf(value, 0.f), static_cast<float>(side - 1)));
}

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

__device__ __forceinline__ Pixel2 to_canvas(const Canvas& canvas, PointF point) {
    return {static_cast<int>(point.x - static_cast<float>(canvas.left)),
            static_cast<int>(point.y - static_cast<float>(canvas.top))};
}

// Moves an end that lies above or below the canvas, then one beside it, onto the canvas' edge.
__device__ __forceinline__ void move_to_row(const Canvas& canvas, int code, Pixel2& end,
                                            Pixel2 other) {
    const int edge = code < 8 ? 0 : canvas.height - 1;
    end = {end.x + (edge - end.y) * (other.x - end.x) / (other.y - end.y), edge};
}
__device__ __forceinline__ void move_to_column(const Canvas& canvas, int code, Pixel2& end,
                                               Pixel2 other) {
    const int edge = code == 1 ? 0 : canvas.width - 1;
    end = {edge, end.y + (edge - end.x) * (other.y - end.y) / (other.x - end.x)};
}

// cv::clipLine. Returns whether the line is visible; its ends may have moved even where it is not.
__device__ __forceinline__ bool clip_line(const Canvas& canvas, Pixel2& a, Pixel2& b) {
    int code_a = canvas.outcode(a), code_b = canvas.outcode(b);
    if ((code_a & code_b) != 0 || (code_a | code_b) == 0) return (code_a | code_b) == 0;
    if (code_a & 12) {
        move_to_row(canvas, code_a, a, b);
        code_a = canvas.outcode(a) & 3;
    }
    if (code_b & 12) {
        move_to_row(canvas, code_b, b, a);
        code_b = canvas.outcode(b) & 3;
    }
    if ((code_a & code_b) != 0) return false;
    if (code_a != 0) move_to_column(canvas, code_a, a, b);
    if (code_b != 0) move_to_column(canvas, code_b, b, a);
    return true;
}

/// One side of the quad: a line that is drawn, and an edge of the scanline fill.
struct QuadSide {
    Pixel2 start;      // of the line: its left end
    int dx, dy, step;  // dy rows in the direction of step; a line that is not drawn has dy < 0
    int fill_begin, fill_end;
    long long fill_x, fill_slope;  // x at fill_begin, and a row further, in 16.16 fixed point
};

__device__ __forceinline__ QuadSide make_side(const Canvas& canvas, Pixel2 from, Pixel2 to) {
    Pixel2 a = from, b = to;
    const bool is_drawn = clip_line(canvas, a, b);
    const Pixel2 left = b.x < a.x ? b : a, right = b.x < a.x ? a : b;
    const int rows = right.y - left.y;
    QuadSide side{left, right.x - left.x, rows < 0 ? -rows : rows, rows < 0 ? -1 : 1, 0, 0, 0, 0};
    if (!is_drawn) side.dy = -1;
    if (from.y == to.y) return side;
    if (a.y == b.y) {  // clipped flat: the fill goes on with the corners as they were
        a = from;
        b = to;
    }
    side.fill_begin = from.y < to.y ? from.y : to.y;
    side.fill_end = from.y < to.y ? to.y : from.y;
    const Pixel2 upper = from.y < to.y ? a : b;
    side.fill_slope = static_cast<long long>(b.x - a.x) * 65536 / (b.y - a.y);
    side.fill_x =
        static_cast<long long>(upper.x) * 65536 + side.fill_slope * (side.fill_begin - upper.y);
    return side;
}

__device__ __forceinline__ void widen(RowSpan& span, int begin, int end) {
    span.begin = begin < span.begin ? begin : span.begin;
    span.end = end > span.end ? end : span.end;
}

// The pixels of OpenCV's 8-connected line in one row: Bresenham's in closed form.
__device__ __forceinline__ void draw_row(const QuadSide& side, int y, RowSpan& span) {
    const int dx = side.dx, dy = side.dy, j = side.step * (y - side.start.y);
    if (j < 0 || j > dy) return;
    int first = 0, last = dx;
    if (dy > dx) {
        const int numerator = 2 * dx * j - dy;
        first = last = numerator <= 0 ? 0 : (numerator + 2 * dy - 1) / (2 * dy);
    } else if (dy > 0) {
        if (j > 0) first = (2 * j - 1) * dx / (2 * dy) + 1;
        const int reached = (2 * j + 1) * dx / (2 * dy);
        last = reached < dx ? reached : dx;
    }
    widen(span, side.start.x + first, side.start.x + last + 1);
}

/// The filled pixels of the canvas' row y, in map pixels; empty where end <= begin.
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
