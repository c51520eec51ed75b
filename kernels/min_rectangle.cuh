// SPDX-License-Identifier: Apache-2.0
//
// Convex hull of a component and its min-area rectangle: the same whole-number arithmetic, and the
// same choice between equal areas, as in csrc/geometry.cpp.
#pragma once

#include "kernels/canvas.hpp"
#include "kernels/components.cuh"
#include "kernels/portable.hpp"

namespace dbnet {

/// A hull has at most 1433 sides: no two have the same direction, and their |dx| + |dy| add up to
/// at most four times kMaxMapSide.
constexpr int kMaxHullPoints = 1440;

/// A corner of a hull, in map pixels.
struct HullPoint {
    std::uint16_t x, y;
};

/// A rotated rectangle: `origin` + a * `along` + b * `across` for a in [a_min, a_max], b in
/// [0, b_max], in pixels; `along` and `across` are unit vectors. In double precision: scoring
/// truncates the corners, and a rounding error in single precision could change the pixel.
struct RotatedRectangle {
    double origin_x, origin_y;
    double along_x, along_y;  // across is (-along_y, along_x)
    double a_min, a_max, b_max;

    __device__ __forceinline__ double length() const { return a_max - a_min; }
    __device__ __forceinline__ double short_side() const {
        return length() < b_max ? length() : b_max;
    }
    __device__ __forceinline__ double area() const { return length() * b_max; }
};

/// A point (x, y) in pixels.
struct PointF {
    float x, y;
};

/// Corner 0 to 3, clockwise, of the rectangle with every side moved outwards by `distance` pixels.
__device__ __forceinline__ PointF corner(const RotatedRectangle& r, double distance, int number) {
    const double a = number == 1 || number == 2 ? r.a_max + distance : r.a_min - distance;
    const double b = number >= 2 ? r.b_max + distance : -distance;
    return {static_cast<float>(r.origin_x + a * r.along_x - b * r.along_y),
            static_cast<float>(r.origin_y + a * r.along_y + b * r.along_x)};
}

/// One side of a hull, top to bottom: the right ends of the rows for kSide 1, the left ends for -1.
template <int kSide>
struct Chain {
    Shared<HullPoint> points;
    int num;  // valid only in lane 0 while the chain grows

    __device__ __forceinline__ static int end_of(RowSpan row) {
        return kSide > 0 ? row.end - 1 : row.begin;
    }

    // Whether b lies strictly outside the line from a to c.
    __device__ __forceinline__ static bool bulges(HullPoint a, HullPoint b, HullPoint c) {
        return kSide * ((b.x - a.x) * (c.y - a.y) - (c.x - a.x) * (b.y - a.y)) > 0;
    }

    // Whether a row's end lies strictly outside the lines between the rows 1, 2, 4, ... above and
    // below. Every corner of the hull passes this test, most other rows do not.
    __device__ __forceinline__ static bool may_be_corner(Shared<RowSpan> rows, int num_rows,
                                                         int row) {
        const int x = end_of(rows[row]);
        for (int d = 1; row - d >= 0 && row + d < num_rows; d *= 2) {
            if (kSide * (2 * x - end_of(rows[row - d]) - end_of(rows[row + d])) <= 0) return false;
        }
        return true;
    }

    // Appends a point, after removing those that are no longer corners.
    __device__ __forceinline__ void push(HullPoint point) {
        while (num >= 2 && !bulges(points[num - 2], points[num - 1], point)) --num;
        points[num++] = point;
    }

    /// Extend the chain by rows from `y` downwards. Called by one warp: all lanes filter rows, lane
    /// 0 pushes corners.
    __device__ __forceinline__ void extend(Shared<RowSpan> rows, int num_rows, int y, int lane) {
        for (int base = 0; base < num_rows; base += kWarpSize) {
            const int row = base + lane;
            unsigned corners =
                __ballot_sync(kAllLanes, row < num_rows && may_be_corner(rows, num_rows, row));
            if (lane != 0) continue;
            for (; corners != 0; corners &= corners - 1) {
                const int at = base + __ffs(static_cast<int>(corners)) - 1;
                push({static_cast<std::uint16_t>(end_of(rows[at])),
                      static_cast<std::uint16_t>(y + at)});
            }
        }
    }
};

/// A convex hull, clockwise from the right end of the top row: down the right chain, up the left.
struct Hull {
    Shared<HullPoint> right, left;
    int num_right, last_left, size;

    __device__ __forceinline__ Hull(Shared<HullPoint> right, int num_right, Shared<HullPoint> left,
                                    int num_left)
        : right(right), left(left), num_right(num_right) {
        const HullPoint top_right = right[0], top_left = left[0];
        const HullPoint low_right = right[num_right - 1], low_left = left[num_left - 1];
        last_left = num_left - 1 - (low_left.x == low_right.x);
        size = num_right + last_left + 1 - (top_left.x == top_right.x);
    }

    __device__ __forceinline__ HullPoint operator[](int i) const {
        return i < num_right ? right[i] : left[last_left - (i - num_right)];
    }
};

/// The rectangle on one side of a hull, in whole numbers.
struct Fit {
    double area;
    int side;            // index of the hull's side
    int turn_x, turn_y;  // the side's direction, turned by multiples of 90 degrees to x > 0, y >= 0
    int dx, dy;          // the side
    int a_min, a_max, b;  // extents along the side and across, times the side's length

    /// Whether this rectangle is chosen over another: smaller area, then turned furthest, then
    /// first, as in csrc/geometry.cpp.
    __device__ __forceinline__ bool beats(double other_area, int other_side, int other_x,
                                          int other_y) const {
        if (area != other_area) return area < other_area;
        const int turned = other_x * turn_y - other_y * turn_x;
        return turned != 0 ? turned > 0 : side < other_side;
    }
};

/// The rectangle on side `side` of a hull.
__device__ __forceinline__ Fit fit_to_side(const Hull& hull, int side) {
    const HullPoint p = hull[side], q = hull[side + 1 < hull.size ? side + 1 : 0];
    Fit fit{0, side, q.x - p.x, q.y - p.y, q.x - p.x, q.y - p.y, 0, 0, 0};
    for (int i = 0; i < hull.size; ++i) {
        const HullPoint point = hull[i];
        const int x = point.x - p.x, y = point.y - p.y;
        const int along = fit.dx * x + fit.dy * y, across = fit.dx * y - fit.dy * x;
        fit.a_min = along < fit.a_min ? along : fit.a_min;
        fit.a_max = along > fit.a_max ? along : fit.a_max;
        fit.b = across > fit.b ? across : fit.b;
    }
    fit.area = static_cast<double>(fit.a_max - fit.a_min) * static_cast<double>(fit.b) /
               static_cast<double>(fit.dx * fit.dx + fit.dy * fit.dy);
    while (fit.turn_x <= 0 || fit.turn_y < 0) {
        const int turned = -fit.turn_y;
        fit.turn_y = fit.turn_x;
        fit.turn_x = turned;
    }
    return fit;
}

/// The rectangle in pixels; `origin` is the first corner of its side.
__device__ __forceinline__ RotatedRectangle to_rectangle(const Fit& fit, HullPoint origin) {
    const double length = sqrt(static_cast<double>(fit.dx * fit.dx + fit.dy * fit.dy));
    return {static_cast<double>(origin.x),
            static_cast<double>(origin.y),
            fit.dx / length,
            fit.dy / length,
            fit.a_min / length,
            fit.a_max / length,
            fit.b / length};
}

/// Write the min-area rectangle of a hull of at least three corners to `rectangle[0]`. Called by
/// one warp: each lane tries every 32nd side, and the lane with the best one writes.
__device__ __forceinline__ void fit_rectangle(const Hull& hull, int lane,
                                              Shared<RotatedRectangle> rectangle) {
    constexpr double kNoArea = 1e300;
    Fit mine{kNoArea, kMaxHullPoints, 1, 0, 0, 0, 0, 0, 0};
    for (int side = lane; side < hull.size; side += kWarpSize) {
        const Fit fit = fit_to_side(hull, side);
        if (fit.beats(mine.area, mine.side, mine.turn_x, mine.turn_y)) mine = fit;
    }
    Fit best = mine;
    for (int step = kWarpSize / 2; step > 0; step /= 2) {
        const double area = __shfl_xor_sync(kAllLanes, best.area, step);
        const int side = __shfl_xor_sync(kAllLanes, best.side, step);
        const int turn_x = __shfl_xor_sync(kAllLanes, best.turn_x, step);
        const int turn_y = __shfl_xor_sync(kAllLanes, best.turn_y, step);
        if (best.beats(area, side, turn_x, turn_y)) continue;
        best.area = area;
        best.side = side;
        best.turn_x = turn_x;
        best.turn_y = turn_y;
    }
    if (mine.side == best.side) rectangle[0] = to_rectangle(mine, hull[mine.side]);
}

}  // namespace dbnet
