// SPDX-License-Identifier: Apache-2.0
//
// Connected components of one tile, labelled by one block.
#pragma once

#include "kernels/components.cuh"
#include "kernels/portable.hpp"
#include "kernels/union_find.cuh"

namespace dbnet {

// 256: 8 warps with four rows of the tile each; a lane has two pixels of a row. At 40 to 48
// registers per thread (NVRTC 12.9, sm_61 to sm_120) 5 blocks fit on a multiprocessor, or 4 where
// its shared memory is 64 KiB (sm_75). Instruction counts, some 1,700 per warp in a tile with
// foreground and 300 in an empty one, suggest that the kernel is bound by instruction issue. Not
// measured on a GPU.
constexpr int kTileThreads = 256, kTileWarps = kTileThreads / kWarpSize;
constexpr int kRowsPerWarp = kTileHeight / kTileWarps;
constexpr int kNodesPerThread = kNodesPerTile / kTileThreads;

/// Arguments of the kernels of components.cu.
struct TileParams {
    DeviceMaps maps;
    ComponentWorkspace workspace;
    const ComponentParams* components;
};

/// The bits of 64 pixels from two ballots: lane i contributes pixels i and i + 32.
__device__ __forceinline__ Word ballot_word(bool low, bool high) {
    const Word high_half = __ballot_sync(kAllLanes, high);
    return high_half << 32 | __ballot_sync(kAllLanes, low);
}

/// Turn the counts at [1] to [num] into offsets at [0] to [num], for num up to 32. Called by one
/// warp.
__device__ __forceinline__ void sum_up(Shared<unsigned> counts, int num, int lane) {
    unsigned sum = lane < num ? static_cast<unsigned>(counts[1 + lane]) : 0;
    for (int step = 1; step < kWarpSize; step *= 2) {
        const unsigned other = __shfl_up_sync(kAllLanes, sum, step);
        if (lane >= step) sum += other;
    }
    if (lane < num) counts[1 + lane] = sum;
    if (lane == 0) counts[0] = 0;
}

/// The bits of one row of a tile. Pixels outside the valid size are background.
template <class T>
__device__ __forceinline__ Word binarize_row(const TileParams& params, const T* map, MapSize size,
                                             int x, int y, int lane) {
    bool low = false, high = false;
    const float threshold = params.components->map_threshold;
    if (y < size.height) {
        const T* row = map + static_cast<std::size_t>(y) * params.maps.width;
        if (x + lane < size.width) low = to_float(row[x + lane]) > threshold;
        if (x + lane + kWarpSize < size.width) {
            high = to_float(row[x + lane + kWarpSize]) > threshold;
        }
    }
    return ballot_word(low, high);
}

/// Whether a component of a tile is a speck: it is too small for a rectangle of min_area and cannot
/// grow, because it does not reach a neighbouring tile.
__device__ __forceinline__ bool is_speck(Word columns, unsigned rows, MapSize size, int x, int y,
                                         float min_area) {
    const bool grows = (x > 0 && (columns & 1)) ||
                       (x + kTileWidth < size.width && (columns >> 63)) || (y > 0 && (rows & 1)) ||
                       (y + kTileHeight < size.height && (rows >> 31));
    const int width = high_bit(columns) - low_bit(columns);
    const int height = high_bit(rows) - low_bit(rows);
    return !grows && static_cast<float>(width * height) < min_area;
}

/// Shared memory of the block that labels a tile.
struct TileMemory {
    Shared<Word> words;             // (kTileHeight) rows, one bit per pixel
    Shared<std::uint32_t> parents;  // forest of the runs, by row and start / 2
    Shared<std::uint16_t> numbers;  // component numbers, at the roots among the runs
    Shared<unsigned> row_offsets;   // number of the first component of each row, and their count
    Shared<unsigned> columns;       // columns that a component covers, one bit each, in two halves
    Shared<unsigned> rows;          // rows that a component covers, one bit each
    Shared<unsigned> firsts;        // first pixel of each component
    Shared<std::uint16_t> nodes;    // node of each component
    Shared<unsigned> kept_offsets;  // components kept before those of each warp, and their count
};

constexpr int kRunsPerTile = kTileHeight * kRunsPerWord;
constexpr int kWarpTurns = kNodesPerThread * kTileWarps;  // in choose_components

/// Declare the block's shared arrays.
__device__ __forceinline__ TileMemory tile_memory() {
    DBNET_SHARED(Word, s_words, kTileHeight);
    DBNET_SHARED(std::uint32_t, s_parents, kRunsPerTile);
    DBNET_SHARED(std::uint16_t, s_numbers, kRunsPerTile);
    DBNET_SHARED(unsigned, s_row_offsets, kTileHeight + 1);
    DBNET_SHARED(unsigned, s_columns, 2 * kNodesPerTile);
    DBNET_SHARED(unsigned, s_rows, kNodesPerTile);
    DBNET_SHARED(unsigned, s_firsts, kNodesPerTile);
    DBNET_SHARED(std::uint16_t, s_nodes, kNodesPerTile);
    DBNET_SHARED(unsigned, s_kept_offsets, kWarpTurns + 1);
    TileMemory memory{};
    memory.words = s_words;
    memory.parents = s_parents;
    memory.numbers = s_numbers;
    memory.row_offsets = s_row_offsets;
    memory.columns = s_columns;
    memory.rows = s_rows;
    memory.firsts = s_firsts;
    memory.nodes = s_nodes;
    memory.kept_offsets = s_kept_offsets;
    return memory;
}

/// A tile's labelling by one block: one function per phase, with barriers between them. A warp has
/// four of the tile's rows, a lane one slot of each: two pixels, in which at most one run starts.
/// Most rows have no foreground, and the warp passes over them.
struct Tile : TileMemory {
    const TileParams& params;
    TileIndex index;
    MapSize size;
    int x, y;  // of the tile's first pixel
    int thread, lane, warp;

    // Of this thread.
    Word my_words[kRowsPerWarp];           // of the warp's rows
    int my_starts[kRowsPerWarp];           // first bit of the run in its slot, -1: none
    std::uint32_t my_roots[kRowsPerWarp];  // of that run
    unsigned my_root_slots[kRowsPerWarp];  // of the warp's rows: slots of the runs that are roots

    /// The tile of the calling block, as its thread sees it.
    __device__ __forceinline__ explicit Tile(const TileParams& params)
        : TileMemory(tile_memory()),
          params(params),
          index{params.workspace, static_cast<int>(blockIdx.z), static_cast<int>(blockIdx.x),
                static_cast<int>(blockIdx.y)},
          size(params.maps.sizes[blockIdx.z]),
          x(index.column * kTileWidth),
          y(index.row * kTileHeight),
          thread(static_cast<int>(threadIdx.x)),
          lane(thread % kWarpSize),
          warp(thread / kWarpSize),
          my_words{},
          my_starts{},
          my_roots{},
          my_root_slots{} {}

    __device__ __forceinline__ int row_of(int k) const { return warp * kRowsPerWarp + k; }
    // Index of the run in this thread's slot.
    __device__ __forceinline__ std::uint32_t run_of(int k) const {
        return row_of(k) * kRunsPerWord + lane;
    }
    __device__ __forceinline__ Word columns_of(int number) const {
        return static_cast<Word>(columns[2 * number + 1]) << 32 | columns[2 * number];
    }

    // Thresholds the tile to one word per row. Returns whether the thread's rows have foreground.
    template <class T>
    __device__ __forceinline__ bool binarize() {
        const DeviceMaps& maps = params.maps;
        const T* map = static_cast<const T*>(maps.values) +
                       static_cast<std::size_t>(index.map_number) * maps.height * maps.width;
        bool any = false;
        for (int k = 0; k < kRowsPerWarp; ++k) {
            const int row = row_of(k);
            my_words[k] = binarize_row(params, map, size, x, y + row, lane);
            any |= my_words[k] != 0;
            if (lane != 0) continue;
            words[row] = my_words[k];
            if (y + row < maps.height) {
                *word_address(maps, index.ws, index.map_number, y + row, index.column) =
                    my_words[k];
            }
        }
        return any;
    }

    // Makes each run its own root, and clears the extents.
    __device__ __forceinline__ void start_forest() {
        for (int k = 0; k < kRowsPerWarp; ++k) {
            my_starts[k] = my_words[k] == 0 ? -1 : start_in_slot(my_words[k], lane);
            if (my_starts[k] >= 0) parents[run_of(k)] = run_of(k);
        }
        for (int i = thread; i < kNodesPerTile; i += kTileThreads) {
            columns[2 * i] = 0;
            columns[2 * i + 1] = 0;
            rows[i] = 0;
        }
    }

    // Unites runs of neighbouring rows that touch.
    __device__ __forceinline__ void unite_runs() {
        const auto parent = [this](std::uint32_t i) { return &parents[i]; };
        for (int k = 0; k < kRowsPerWarp; ++k) {
            const int row = row_of(k);
            if (row == 0 || my_words[k] == 0) continue;
            join_rows(words[row - 1], my_words[k], lane, [&](int here, int above) {
                unite(parent, row * kRunsPerWord + here, (row - 1) * kRunsPerWord + above);
            });
        }
    }

    // Finds the root of each run, and counts the roots in each row.
    __device__ __forceinline__ void find_roots() {
        const auto parent = [this](std::uint32_t i) { return &parents[i]; };
        for (int k = 0; k < kRowsPerWarp; ++k) {
            if (my_words[k] != 0) {
                const bool starts = my_starts[k] >= 0;
                if (starts) my_roots[k] = find_root(parent, run_of(k));
                my_root_slots[k] = __ballot_sync(kAllLanes, starts && my_roots[k] == run_of(k));
            }
            if (lane == 0) row_offsets[row_of(k) + 1] = __popc(my_root_slots[k]);
        }
    }

    // Numbers the roots, that is the components, in raster order.
    __device__ __forceinline__ void number_roots() {
        const unsigned slots_before = (1u << lane) - 1;
        for (int k = 0; k < kRowsPerWarp; ++k) {
            const int row = row_of(k);
            if (!(my_root_slots[k] >> lane & 1)) continue;
            const unsigned number = row_offsets[row] + __popc(my_root_slots[k] & slots_before);
            numbers[run_of(k)] = static_cast<std::uint16_t>(number);
            firsts[number] =
                static_cast<unsigned>((y + row) * params.maps.width + x + my_starts[k]);
        }
    }

    // Marks the rows and columns that each component covers.
    __device__ __forceinline__ void gather_extents() {
        for (int k = 0; k < kRowsPerWarp; ++k) {
            if (my_starts[k] < 0) continue;
            const int number = numbers[my_roots[k]], end = run_end(my_words[k], my_starts[k]);
            const Word covered = bits_below(end) & ~bits_below(my_starts[k]);
            const unsigned left = static_cast<unsigned>(covered);
            const unsigned right = static_cast<unsigned>(covered >> 32);
            atomicOr(&rows[number], 1u << row_of(k));
            // One of 64 bits would be a loop of compare and swap.
            if (left != 0) atomicOr(&columns[2 * number], left);
            if (right != 0) atomicOr(&columns[2 * number + 1], right);
        }
    }

    // Chooses the components that can become text: bit k is the thread's k-th component. Counts
    // them per warp and turn.
    __device__ __forceinline__ unsigned choose_components() {
        const int num_components = static_cast<int>(row_offsets[kTileHeight]);
        const float min_area = params.components->min_area;
        unsigned kept = 0;
        for (int k = 0; k < kNodesPerThread; ++k) {
            const int number = k * kTileThreads + thread;
            const bool keeps = number < num_components &&
                               !is_speck(columns_of(number), rows[number], size, x, y, min_area);
            kept |= static_cast<unsigned>(keeps) << k;
            const unsigned of_warp = __ballot_sync(kAllLanes, keeps);
            if (lane == 0) kept_offsets[1 + k * kTileWarps + warp] = __popc(of_warp);
        }
        return kept;
    }

    // Writes the nodes of the chosen components, without gaps.
    __device__ __forceinline__ void write_nodes(unsigned kept) {
        const int num_components = static_cast<int>(row_offsets[kTileHeight]);
        for (int k = 0; k < kNodesPerThread; ++k) {
            const int number = k * kTileThreads + thread;
            const bool keeps = kept >> k & 1;
            const unsigned of_warp = __ballot_sync(kAllLanes, keeps);
            if (number >= num_components) continue;
            const unsigned node = kept_offsets[k * kTileWarps + warp] +
                                  __popc(of_warp & static_cast<unsigned>(bits_below(lane)));
            nodes[number] = keeps ? static_cast<std::uint16_t>(node) : kDropped;
            if (!keeps) continue;
            const Word in_columns = columns_of(number);
            const std::uint32_t at = index.node(node);
            index.ws.nodes[at] = {at, firsts[number], x + low_bit(in_columns),
                                  x + high_bit(in_columns), y + high_bit(rows[number])};
        }
    }

    // Writes the node of each run.
    __device__ __forceinline__ void write_run_nodes() {
        for (int k = 0; k < kRowsPerWarp; ++k) {
            if (my_starts[k] < 0) continue;
            *run_address(params.maps, index.ws, index.map_number, y + row_of(k), index.column,
                         lane) = nodes[numbers[my_roots[k]]];
        }
    }
};

}  // namespace dbnet
