// SPDX-License-Identifier: Apache-2.0
//
// Rectangles of components: the extent of each row, the hull of the extents, and the rectangle of
// least area around the hull. One block works on one component.
#pragma once

#include "kernels/boxes.cuh"
#include "kernels/components.cuh"
#include "kernels/min_rectangle.cuh"
#include "kernels/portable.hpp"

namespace dbnet {

// 128: one thread per row at a time, and most texts are shorter than 128 rows. Two warps grow the
// hull and one fits the rectangle, so that more would wait longer.
constexpr int kRowsAtOnce = 128;

/// A component, with the index of its root node.
struct Component {
    int map_number;
    std::uint32_t root;
    int x_min, y_min, x_max, y_max;
    std::uint32_t first;
};

/// Read the i-th component of a map.
__device__ __forceinline__ Component read_component(const BoxKernelParams& params, int map_number,
                                                    std::uint32_t i) {
    const ComponentWorkspace& ws = params.workspace.components;
    const std::uint32_t root = root_list(ws, map_number)[i];
    const ComponentNode& node = ws.nodes[root];
    return {map_number, root,       node.x_min, static_cast<int>(node.first) / params.maps.width,
            node.x_max, node.y_max, node.first};
}

// Whether the pixel at a bit of a word belongs to the component.
__device__ __forceinline__ bool holds(const BoxKernelParams& params, const Component& component,
                                      int y, int column, Word word, int bit) {
    const ComponentWorkspace& ws = params.workspace.components;
    const std::uint32_t node = node_at(params.maps, ws, component.map_number, y, column, word, bit);
    return node != kNoNode && ws.nodes[node].parent == component.root;
}

// Extent of the component in row y, from its first pixel to its last. Searches inwards from both
// ends of the component's box; every row between its first and last has at least one pixel.
__device__ __forceinline__ RowSpan row_extent(const BoxKernelParams& params,
                                              const Component& component, int y) {
    const ComponentWorkspace& ws = params.workspace.components;
    RowSpan extent{-1, -1};
    for (int column = component.x_min / kTileWidth; extent.begin < 0; ++column) {
        Word word = *word_address(params.maps, ws, component.map_number, y, column);
        const Word whole = word;
        while (word != 0 && extent.begin < 0) {
            const int bit = low_bit(word);
            if (holds(params, component, y, column, whole, bit)) {
                extent.begin = column * kTileWidth + bit;
            }
            word &= ~bits_below(run_end(whole, bit));
        }
    }
    for (int column = component.x_max / kTileWidth; extent.end < 0; --column) {
        Word word = *word_address(params.maps, ws, component.map_number, y, column);
        const Word whole = word;
        while (word != 0 && extent.end < 0) {
            const int bit = high_bit(word);
            if (holds(params, component, y, column, whole, bit)) {
                extent.end = column * kTileWidth + bit + 1;
            }
            word &= bits_below(run_start(whole, bit));
        }
    }
    return extent;
}

/// Compute the component's min-area rectangle; the first warp writes it to rectangle[0]. Each
/// thread finds the extent of one row at a time, then the first warp extends the right chain of the
/// hull and the second warp the left one. Returns false for pixels in a line, which have no
/// rectangle.
__device__ __forceinline__ bool find_rectangle(const BoxKernelParams& params,
                                               const Component& component,
                                               Shared<RotatedRectangle> rectangle) {
    DBNET_SHARED(RowSpan, s_rows, kRowsAtOnce);
    DBNET_SHARED(HullPoint, s_right, kMaxHullPoints);
    DBNET_SHARED(HullPoint, s_left, kMaxHullPoints);
    DBNET_SHARED(int, s_num_points, 2);
    const int t = threadIdx.x, lane = t % kWarpSize, warp = t / kWarpSize;
    Chain<1> right{s_right, 0};
    Chain<-1> left{s_left, 0};
    for (int y = component.y_min; y <= component.y_max; y += kRowsAtOnce) {
        const int rows_left = component.y_max + 1 - y;
        const int num_rows = rows_left < kRowsAtOnce ? rows_left : kRowsAtOnce;
        __syncthreads();  // the shared arrays are free again
        if (t < num_rows) s_rows[t] = row_extent(params, component, y + t);
        __syncthreads();
        if (warp == 0) right.extend(s_rows, num_rows, y, lane);
        if (warp == 1) left.extend(s_rows, num_rows, y, lane);
    }
    if (t == 0) s_num_points[0] = right.num;
    if (t == kWarpSize) s_num_points[1] = left.num;
    __syncthreads();
    const Hull hull(s_right, s_num_points[0], s_left, s_num_points[1]);
    if (hull.size < 3) return false;
    if (warp == 0) fit_rectangle(hull, lane, rectangle);
    __syncthreads();
    return true;
}

}  // namespace dbnet
