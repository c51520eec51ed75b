// SPDX-License-Identifier: Apache-2.0
//
// Words, runs and nodes, as the kernels of components.cu and boxes.cu look them up.
#pragma once

#include "kernels/components.hpp"
#include "kernels/portable.hpp"

namespace dbnet {

constexpr int kWarpSize = 32;
constexpr std::uint32_t kNoNode = 0xFFFFFFFFu;
constexpr std::uint16_t kDropped = 0xFFFF;  // in run_nodes: a speck

__device__ __forceinline__ Word bits_below(int bit) {
    return bit >= 64 ? ~Word{0} : (Word{1} << bit) - 1;
}
__device__ __forceinline__ Word run_starts(Word word) { return word & ~(word << 1); }

__device__ __forceinline__ int low_bit(Word word) {
    return __ffsll(static_cast<long long>(word)) - 1;
}
__device__ __forceinline__ int high_bit(Word word) {
    return 63 - __clzll(static_cast<long long>(word));
}

/// First bit of the run that holds a bit, and the bit behind its last.
__device__ __forceinline__ int run_start(Word word, int bit) {
    return 64 - __clzll(static_cast<long long>(~word & bits_below(bit)));
}
__device__ __forceinline__ int run_end(Word word, int bit) {
    const Word zeros = ~word & ~bits_below(bit);
    return zeros == 0 ? 64 : __ffsll(static_cast<long long>(zeros)) - 1;
}

/// Calls join(bit of the row, bit of the row above) for runs that touch, corners included: each
/// pair once or twice, by the threads at the first bit of the later run, and of the earlier one.
template <class Join>
__device__ __forceinline__ void join_rows(Word above, Word row, int bit, Join join) {
    const bool before_above = bit > 0 && (above >> (bit - 1) & 1);
    const bool before = bit > 0 && (row >> (bit - 1) & 1), here = row >> bit & 1;
    if ((run_starts(row) >> bit & 1) && before_above) join(bit, bit - 1);
    if ((run_starts(above) >> bit & 1) && (here || before)) join(here ? bit : bit - 1, bit);
}

/// A tile of a map.
struct TileIndex {
    const ComponentWorkspace& ws;
    int map_number, column, row;

    __device__ __forceinline__ std::uint32_t number() const {
        return (static_cast<std::uint32_t>(map_number) * ws.tile_rows + row) * ws.words_per_row +
               column;
    }
    __device__ __forceinline__ std::uint16_t* count() const { return ws.tile_counts + number(); }
    __device__ __forceinline__ std::uint32_t node(std::uint32_t i) const {
        return number() * kNodesPerTile + i;
    }
};

/// Components of a map, as the indices of their root nodes.
__device__ __forceinline__ std::uint32_t* root_list(const ComponentWorkspace& ws, int map_number) {
    return ws.roots + TileIndex{ws, map_number, 0, 0}.node(0);
}

__device__ __forceinline__ Word* word_address(const DeviceMaps& maps, const ComponentWorkspace& ws,
                                              int map_number, int y, int column) {
    return ws.words + (static_cast<std::size_t>(map_number) * maps.height + y) * ws.words_per_row +
           column;
}

__device__ __forceinline__ std::uint16_t* run_address(const DeviceMaps& maps,
                                                      const ComponentWorkspace& ws, int map_number,
                                                      int y, int column, int bit) {
    const Word* word = word_address(maps, ws, map_number, y, column);
    return ws.run_nodes + (word - ws.words) * kRunsPerWord + bit / 2;
}

/// Node of the run that holds a bit of a word; kNoNode for a speck.
__device__ __forceinline__ std::uint32_t node_at(const DeviceMaps& maps,
                                                 const ComponentWorkspace& ws, int map_number,
                                                 int y, int column, Word word, int bit) {
    const std::uint16_t node = *run_address(maps, ws, map_number, y, column, run_start(word, bit));
    if (node == kDropped) return kNoNode;
    return TileIndex{ws, map_number, column, y / kTileHeight}.node(node);
}

}  // namespace dbnet
