// SPDX-License-Identifier: Apache-2.0
//
// Look-up of words, runs and nodes in the workspace, for components.cu and boxes.cu.
#pragma once

#include "kernels/components.hpp"
#include "kernels/portable.hpp"

namespace dbnet {

constexpr int kWarpSize = 32;
constexpr unsigned kAllLanes = ~0u;
constexpr std::uint32_t kNoNode = 0xFFFFFFFFu;
constexpr std::uint16_t kDropped = 0xFFFF;  // in run_nodes: a run of a speck

/// Mask of the bits below a bit, 0 to 64.
__device__ __forceinline__ Word bits_below(int bit) {
    return bit >= 64 ? ~Word{0} : (Word{1} << bit) - 1;
}
/// The first bit of each run.
__device__ __forceinline__ Word run_starts(Word word) { return word & ~(word << 1); }

/// Index of the lowest bit that is set.
__device__ __forceinline__ int low_bit(Word word) {
    return __ffsll(static_cast<long long>(word)) - 1;
}
/// Index of the highest bit that is set.
__device__ __forceinline__ int high_bit(Word word) {
    return 63 - __clzll(static_cast<long long>(word));
}

/// First bit of the run that contains a bit.
__device__ __forceinline__ int run_start(Word word, int bit) {
    return 64 - __clzll(static_cast<long long>(~word & bits_below(bit)));
}
/// One past the last bit of the run that contains a bit.
__device__ __forceinline__ int run_end(Word word, int bit) {
    const Word zeros = ~word & ~bits_below(bit);
    return zeros == 0 ? 64 : __ffsll(static_cast<long long>(zeros)) - 1;
}

/// First bit of the run that starts in a slot, two bits of a word; -1 if none does. Runs start at
/// least two bits apart, so that a slot has at most one.
__device__ __forceinline__ int start_in_slot(Word word, int slot) {
    const unsigned starts = static_cast<unsigned>(run_starts(word) >> (2 * slot)) & 3;
    return starts == 0 ? -1 : 2 * slot + (starts == 2);
}

/// Call join(slot of a run of the row, slot of a run of the row above) for runs that touch, corners
/// included. One thread per slot; each pair of runs is joined once or twice, where one of them
/// starts.
template <class Join>
__device__ __forceinline__ void join_rows(Word above, Word row, int slot, Join join) {
    const int start = start_in_slot(row, slot), start_above = start_in_slot(above, slot);
    if (start > 0 && (above >> (start - 1) & 1)) join(slot, run_start(above, start - 1) / 2);
    if (start_above < 0) return;
    const bool here = row >> start_above & 1;
    const bool before = start_above > 0 && (row >> (start_above - 1) & 1);
    if (here || before) join(run_start(row, here ? start_above : start_above - 1) / 2, slot);
}

/// Position of a tile, and its part of the workspace.
struct TileIndex {
    const ComponentWorkspace& ws;
    int map_number, column, row;

    /// Index of the tile in the batch.
    __device__ __forceinline__ std::uint32_t number() const {
        return (static_cast<std::uint32_t>(map_number) * ws.tile_rows + row) * ws.words_per_row +
               column;
    }
    /// The tile's number of nodes.
    __device__ __forceinline__ std::uint16_t* count() const { return ws.tile_counts + number(); }
    /// Index of the tile's i-th node.
    __device__ __forceinline__ std::uint32_t node(std::uint32_t i) const {
        return number() * kNodesPerTile + i;
    }
};

/// List of a map's components, as indices of their root nodes.
__device__ __forceinline__ std::uint32_t* root_list(const ComponentWorkspace& ws, int map_number) {
    return ws.roots + TileIndex{ws, map_number, 0, 0}.node(0);
}

/// Word of row y in a column of tiles.
__device__ __forceinline__ Word* word_address(const DeviceMaps& maps, const ComponentWorkspace& ws,
                                              int map_number, int y, int column) {
    return ws.words + (static_cast<std::size_t>(map_number) * maps.height + y) * ws.words_per_row +
           column;
}

/// Node number of the run that starts in a slot.
__device__ __forceinline__ std::uint16_t* run_address(const DeviceMaps& maps,
                                                      const ComponentWorkspace& ws, int map_number,
                                                      int y, int column, int slot) {
    const Word* word = word_address(maps, ws, map_number, y, column);
    return ws.run_nodes + (word - ws.words) * kRunsPerWord + slot;
}

/// Node of the run that starts in a slot of a word; kNoNode for a speck.
__device__ __forceinline__ std::uint32_t node_of_run(const DeviceMaps& maps,
                                                     const ComponentWorkspace& ws, int map_number,
                                                     int y, int column, int slot) {
    const std::uint16_t node = *run_address(maps, ws, map_number, y, column, slot);
    if (node == kDropped) return kNoNode;
    return TileIndex{ws, map_number, column, y / kTileHeight}.node(node);
}

/// Node of the run that contains a bit of a word; kNoNode for a speck.
__device__ __forceinline__ std::uint32_t node_at(const DeviceMaps& maps,
                                                 const ComponentWorkspace& ws, int map_number,
                                                 int y, int column, Word word, int bit) {
    return node_of_run(maps, ws, map_number, y, column, run_start(word, bit) / 2);
}

}  // namespace dbnet
