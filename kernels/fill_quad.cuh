// SPDX-License-Identifier: Apache-2.0
//
// The pixels that OpenCV's fillPoly fills for a quad, row by row: whole-number corners on a canvas
// of the quad's bounding box, with the same results as fill_quad of csrc/geometry.cpp. A warp works
// on eight rows at a time: four lanes share a row, and each of them has one side of the quad.
#pragma once

#include "kernels/canvas.hpp"
#include "kernels/min_rectangle.cuh"
#include "kernels/portable.hpp"

namespace dbnet {

constexpr int kLanesPerRow = 4;  // one per side of the quad

/// Clamp a coordinate to the pixels of a map's side.
__device__ __forceinline__ int clamp_to_map(float value, int side) {
    return static_cast<int>(fminf(fmaxf(value, 0.f), static_cast<float>(side - 1)));
}

/// The bounding box of a quad within the map. Each lane of the warp has one corner.
__device__ __forceinline__ Canvas make_canvas(PointF corner, MapSize size) {
    float x_low = corner.x, x_high = corner.x, y_low = corner.y, y_high = corner.y;
    for (int step = 1; step < kLanesPerRow; step *= 2) {
        x_low = fminf(x_low, __shfl_xor_sync(kAllLanes, x_low, step));
        x_high = fmaxf(x_high, __shfl_xor_sync(kAllLanes, x_high, step));
        y_low = fminf(y_low, __shfl_xor_sync(kAllLanes, y_low, step));
        y_high = fmaxf(y_high, __shfl_xor_sync(kAllLanes, y_high, step));
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

/// A quad to fill: its canvas, and the calling lane's side.
struct FilledQuad {
    Canvas canvas;
    QuadSide side;

    /// The quad of a rectangle, cut off at the map's edges. Called by a warp.
    __device__ __forceinline__ FilledQuad(const RotatedRectangle& rectangle, MapSize size) {
        const int lane = threadIdx.x % kWarpSize, number = lane % kLanesPerRow;
        const int next_lane = lane - number + (number + 1) % kLanesPerRow;
        const PointF from = corner(rectangle, 0, number);
        const PointF to{__shfl_sync(kAllLanes, from.x, next_lane),
                        __shfl_sync(kAllLanes, from.y, next_lane)};
        canvas = make_canvas(from, size);
        side = make_side(canvas, to_canvas(canvas, from), to_canvas(canvas, to));
    }

    /// The filled pixels of row y of the canvas, as columns of the map. Called by a warp; the four
    /// lanes of a row have the same y. Rows below the canvas are empty.
    __device__ __forceinline__ RowSpan row(int y) const {
        constexpr int kFar = 1 << 30;
        RowSpan lines{canvas.width, 0}, edges{kFar, -kFar};
        draw_row(side, y, lines);
        const bool crosses = side.fill_begin <= y && y < side.fill_end;
        if (crosses) {
            const long long x = side.fill_x + side.fill_slope * (y - side.fill_begin);
            edges = {static_cast<int>((x + 65535) >> 16), static_cast<int>(x >> 16) + 1};
        }
        lines = join_sides(lines);
        edges = join_sides(edges);
        const int lane = threadIdx.x % kWarpSize;
        const unsigned crossing = __ballot_sync(kAllLanes, crosses) >> (lane & -kLanesPerRow) & 15;
        if (__popc(crossing) == 2 && edges.begin < canvas.width && edges.end > 0 &&
            edges.begin < edges.end) {
            widen(lines, edges.begin > 0 ? edges.begin : 0,
                  edges.end < canvas.width ? edges.end : canvas.width);
        }
        if (y >= canvas.height) return {0, 0};
        return {canvas.left + lines.begin, canvas.left + lines.end};
    }

private:
    // The span that covers those of the row's four lanes.
    __device__ __forceinline__ static RowSpan join_sides(RowSpan span) {
        for (int step = 1; step < kLanesPerRow; step *= 2) {
            widen(span, __shfl_xor_sync(kAllLanes, span.begin, step),
                  __shfl_xor_sync(kAllLanes, span.end, step));
        }
        return span;
    }
};

}  // namespace dbnet
