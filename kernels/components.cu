// SPDX-License-Identifier: Apache-2.0
//
// Connected components in three launches, without a memset and without the host.
//   tile    64 x 32 pixels a block: threshold to one word a row, unite runs of neighbouring rows in
//           shared memory, number the components of the tile, drop the specks that cannot matter
//   border  unite the nodes of neighbouring tiles, corners included
//   resolve fold each node's extents into its root, list the roots
// Only the first touches every pixel, once; the rest works on words and nodes.
#include "kernels/components.cuh"
#include "kernels/components.hpp"
#include "kernels/portable.hpp"
#include "kernels/union_find.cuh"

namespace dbnet {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kRowsPerWarp = kTileHeight / kWarps;
constexpr int kNodesPerThread = kNodesPerTile / kThreads;
constexpr std::uint16_t kDropped = 0xFFFF;
constexpr unsigned kAllLanes = ~0u;

struct TileParams {
    DeviceMaps maps;
    ComponentWorkspace workspace;
    float threshold, min_area;
};

// Of two 32-bit halves the bits of 64 pixels: lane i gives pixels i and i + 32.
__device__ __forceinline__ Word ballot_word(bool low, bool high) {
    const Word high_half = __ballot_sync(kAllLanes, high);
    return high_half << 32 | __ballot_sync(kAllLanes, low);
}

// Sum of the values of all lanes up to this one.
__device__ __forceinline__ unsigned scan_warp(unsigned value, int lane) {
    for (int step = 1; step < 32; step *= 2) {
        const unsigned other = __shfl_up_sync(kAllLanes, value, step);
        if (lane >= step) value += other;
    }
    return value;
}

// The bits of a tile's row. Pixels outside of the size that is looked at are dark.
template <class T>
__device__ __forceinline__ Word binarize_row(const TileParams& params, const T* map, MapSize size,
                                             int x, int y, int lane) {
    bool low = false, high = false;
    if (y < size.height) {
        const T* row = map + static_cast<std::size_t>(y) * params.maps.width;
        if (x + lane < size.width) low = to_float(row[x + lane]) > params.threshold;
        if (x + lane + 32 < size.width) high = to_float(row[x + lane + 32]) > params.threshold;
    }
    return ballot_word(low, high);
}

// Unites the runs of a row with those of the row above that they touch: each pair once or twice,
// by the thread at the first bit of the later run, and of the earlier run.
template <class Parent>
__device__ __forceinline__ void unite_rows(Parent parent, Word above, Word row, int row_number,
                                           int bit) {
    const std::uint32_t here = row_number * kRunsPerWord, there = here - kRunsPerWord;
    if (bit > 0 && (run_starts(row) >> bit & 1) && (above >> (bit - 1) & 1)) {
        unite(parent, here + bit / 2, there + run_start(above, bit - 1) / 2);
    }
    if (run_starts(above) >> bit & 1) {
        if (row >> bit & 1) {
            unite(parent, here + run_start(row, bit) / 2, there + bit / 2);
        } else if (bit > 0 && (row >> (bit - 1) & 1)) {
            unite(parent, here + run_start(row, bit - 1) / 2, there + bit / 2);
        }
    }
}

// A component within one tile that is too small for a rectangle of min_area and cannot grow,
// because it does not reach a neighbouring tile, is a speck.
__device__ __forceinline__ bool is_speck(Word columns, unsigned rows, MapSize size, int x, int y,
                                         float min_area) {
    const bool grows = (x > 0 && (columns & 1)) ||
                       (x + kTileWidth < size.width && (columns >> 63)) || (y > 0 && (rows & 1)) ||
                       (y + kTileHeight < size.height && (rows >> 31));
    const int width = high_bit(columns) - low_bit(columns);
    const int height = 31 - __clz(static_cast<int>(rows)) - (__ffs(static_cast<int>(rows)) - 1);
    return !grows && static_cast<float>(width * height) < min_area;
}

// One block a tile; a warp has four of its rows, a lane two pixels of each.
template <class T>
__global__ void __launch_bounds__(kThreads) tile_kernel(TileParams params) {
    DBNET_SHARED(Word, s_words, kTileHeight);
    DBNET_SHARED(std::uint32_t, s_parents, kTileHeight* kRunsPerWord);  // by row and start / 2
    DBNET_SHARED(std::uint16_t, s_numbers, kTileHeight* kRunsPerWord);  // of components, at roots
    DBNET_SHARED(unsigned, s_row_offsets, kTileHeight + 1);
    DBNET_SHARED(Word, s_columns, kNodesPerTile);  // bits of the columns that a component is in
    DBNET_SHARED(unsigned, s_rows, kNodesPerTile);
    DBNET_SHARED(unsigned, s_firsts, kNodesPerTile);
    DBNET_SHARED(std::uint16_t, s_nodes, kNodesPerTile);  // component to node
    DBNET_SHARED(unsigned, s_kept, kNodesPerThread* kWarps + 1);

    const ComponentWorkspace& ws = params.workspace;
    const int map_number = blockIdx.z;
    const int t = threadIdx.x, lane = t % 32, warp = t / 32;
    const int x = blockIdx.x * kTileWidth, y = blockIdx.y * kTileHeight;
    const MapSize size = params.maps.sizes[map_number];
    const T* map = static_cast<const T*>(params.maps.values) +
                   static_cast<std::size_t>(map_number) * params.maps.height * params.maps.width;
    const TileIndex tile{ws, map_number, static_cast<int>(blockIdx.x),
                         static_cast<int>(blockIdx.y)};

    Word words[kRowsPerWarp];
    bool any = false;
    for (int k = 0; k < kRowsPerWarp; ++k) {
        const int row = warp * kRowsPerWarp + k;
        words[k] = binarize_row(params, map, size, x, y + row, lane);
        any |= words[k] != 0;
        if (lane == 0) {
            s_words[row] = words[k];
            if (y + row < params.maps.height)
                *word_address(params.maps, ws, map_number, y + row, blockIdx.x) = words[k];
        }
    }
    if (!__syncthreads_or(any)) {  // most tiles of a text map are empty
        if (t == 0) *tile.count() = 0;
        return;
    }

    for (int k = 0; k < kRowsPerWarp; ++k) {
        const Word starts = run_starts(words[k]);
        for (int bit = lane; bit < kTileWidth; bit += 32) {
            const std::uint32_t run = (warp * kRowsPerWarp + k) * kRunsPerWord + bit / 2;
            if (starts >> bit & 1) s_parents[run] = run;
        }
    }
    for (int i = t; i < kNodesPerTile; i += kThreads) {
        s_columns[i] = 0;
        s_rows[i] = 0;
    }
    __syncthreads();

    const auto parent = [&](std::uint32_t i) { return &s_parents[i]; };
    for (int k = 0; k < kRowsPerWarp; ++k) {
        const int row = warp * kRowsPerWarp + k;
        if (row == 0) continue;
        const Word above = s_words[row - 1];
        if (words[k] == 0 || above == 0) continue;
        for (int bit = lane; bit < kTileWidth; bit += 32) {
            unite_rows(parent, above, words[k], row, bit);
        }
    }
    __syncthreads();

    // Number the roots in raster order.
    std::uint32_t roots[kRowsPerWarp][2];
    Word root_bits[kRowsPerWarp];
    for (int k = 0; k < kRowsPerWarp; ++k) {
        const int row = warp * kRowsPerWarp + k;
        bool is_root[2];
        for (int half = 0; half < 2; ++half) {
            const int bit = lane + 32 * half;
            const std::uint32_t run = row * kRunsPerWord + bit / 2;
            const bool starts = run_starts(words[k]) >> bit & 1;
            roots[k][half] = starts ? find_root(parent, run) : kNoNode;
            is_root[half] = starts && roots[k][half] == run;
        }
        root_bits[k] = ballot_word(is_root[0], is_root[1]);
        if (lane == 0) s_row_offsets[row + 1] = __popcll(root_bits[k]);
    }
    __syncthreads();
    if (warp == 0) {
        const unsigned ends = scan_warp(s_row_offsets[lane + 1], lane);
        __syncwarp();
        s_row_offsets[lane + 1] = ends;
        if (lane == 0) s_row_offsets[0] = 0;
    }
    __syncthreads();
    const int num_components = static_cast<int>(s_row_offsets[kTileHeight]);
    for (int k = 0; k < kRowsPerWarp; ++k) {
        const int row = warp * kRowsPerWarp + k;
        for (int bit = lane; bit < kTileWidth; bit += 32) {
            if (!(root_bits[k] >> bit & 1)) continue;
            const unsigned number = s_row_offsets[row] + __popcll(root_bits[k] & bits_below(bit));
            s_numbers[row * kRunsPerWord + bit / 2] = static_cast<std::uint16_t>(number);
            s_firsts[number] = static_cast<unsigned>((y + row) * params.maps.width + x + bit);
        }
    }
    __syncthreads();

    // Extents of the components, as bits of their rows and columns.
    for (int k = 0; k < kRowsPerWarp; ++k) {
        for (int half = 0; half < 2; ++half) {
            if (roots[k][half] == kNoNode) continue;
            const int bit = lane + 32 * half;
            const int number = s_numbers[roots[k][half]];
            atomicOr(&s_rows[number], 1u << (warp * kRowsPerWarp + k));
            atomicOr(&s_columns[number], bits_below(run_end(words[k], bit)) & ~bits_below(bit));
        }
    }
    __syncthreads();

    // Keep what can become text, and give it nodes without gaps.
    bool keeps[kNodesPerThread];
    unsigned kept_before[kNodesPerThread];
    for (int k = 0; k < kNodesPerThread; ++k) {
        const int number = k * kThreads + t;
        keeps[k] = number < num_components &&
                   !is_speck(s_columns[number], s_rows[number], size, x, y, params.min_area);
        const unsigned kept = __ballot_sync(kAllLanes, keeps[k]);
        kept_before[k] = __popc(kept & static_cast<unsigned>(bits_below(lane)));
        if (lane == 0) s_kept[1 + k * kWarps + warp] = __popc(kept);
    }
    __syncthreads();
    if (warp == 0) {
        constexpr int kGroups = kNodesPerThread * kWarps;
        const unsigned ends =
            scan_warp(lane < kGroups ? s_kept[1 + (lane < kGroups ? lane : 0)] : 0, lane);
        __syncwarp();
        if (lane < kGroups) s_kept[1 + lane] = ends;
        if (lane == 0) s_kept[0] = 0;
        if (lane == kGroups - 1) *tile.count() = static_cast<std::uint16_t>(ends);
    }
    __syncthreads();
    for (int k = 0; k < kNodesPerThread; ++k) {
        const int number = k * kThreads + t;
        if (number >= num_components) continue;
        const unsigned node = s_kept[k * kWarps + warp] + kept_before[k];
        s_nodes[number] = keeps[k] ? static_cast<std::uint16_t>(node) : kDropped;
        if (!keeps[k]) continue;
        const Word columns = s_columns[number];
        const unsigned rows = s_rows[number];
        const std::uint32_t index = tile.node(node);
        ws.nodes[index] = {index, s_firsts[number], x + low_bit(columns), x + high_bit(columns),
                           y + 31 - __clz(static_cast<int>(rows))};
    }
    __syncthreads();
    for (int k = 0; k < kRowsPerWarp; ++k) {
        for (int half = 0; half < 2; ++half) {
            if (roots[k][half] == kNoNode) continue;
            const int row = y + warp * kRowsPerWarp + k, bit = lane + 32 * half;
            *run_address(params.maps, ws, map_number, row, blockIdx.x, bit) =
                s_nodes[s_numbers[roots[k][half]]];
        }
    }
}

__device__ __forceinline__ void join(const ComponentWorkspace& ws, std::uint32_t a,
                                     std::uint32_t b) {
    if (a == kNoNode || b == kNoNode) return;
    unite([&](std::uint32_t i) { return &ws.nodes[i].parent; }, a, b);
}

// One thread a pixel of a tile's first column (its left neighbours lie in another tile) or first
// row. Threads are independent but for the forest.
__global__ void __launch_bounds__(kThreads) border_kernel(TileParams params) {
    const DeviceMaps& maps = params.maps;
    const ComponentWorkspace& ws = params.workspace;
    const int map_number = blockIdx.z;
    const int num_vertical = (ws.words_per_row - 1) * maps.height;
    int id = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
    if (id < num_vertical) {
        const int y = id % maps.height, column = id / maps.height + 1;
        const Word word = *word_address(maps, ws, map_number, y, column);
        if (!(word & 1)) return;
        const std::uint32_t node = node_at(maps, ws, map_number, y, column, word, 0);
        for (int row = y > 0 ? y - 1 : 0; row <= y + 1 && row < maps.height; ++row) {
            const Word left = *word_address(maps, ws, map_number, row, column - 1);
            if (left >> 63)
                join(ws, node, node_at(maps, ws, map_number, row, column - 1, left, 63));
        }
        return;
    }
    id -= num_vertical;
    const int bit = id % kTileWidth, column = id / kTileWidth % ws.words_per_row;
    const int y = (id / kTileWidth / ws.words_per_row + 1) * kTileHeight;
    if (y >= maps.height) return;
    const Word word = *word_address(maps, ws, map_number, y, column);
    const Word above = *word_address(maps, ws, map_number, y - 1, column);
    if (word == 0 || above == 0) return;
    const auto join_bits = [&](int here, int there) {
        join(ws, node_at(maps, ws, map_number, y, column, word, here),
             node_at(maps, ws, map_number, y - 1, column, above, there));
    };
    if (bit > 0 && (run_starts(word) >> bit & 1) && (above >> (bit - 1) & 1))
        join_bits(bit, bit - 1);
    if (run_starts(above) >> bit & 1) {
        if (word >> bit & 1) {
            join_bits(bit, bit);
        } else if (bit > 0 && (word >> (bit - 1) & 1)) {
            join_bits(bit - 1, bit);
        }
    }
}

// One block a tile, a thread a node at a time. After it, every node's parent is its root.
__global__ void __launch_bounds__(kThreads) resolve_kernel(TileParams params) {
    const ComponentWorkspace& ws = params.workspace;
    const TileIndex tile{ws, static_cast<int>(blockIdx.z), static_cast<int>(blockIdx.x),
                         static_cast<int>(blockIdx.y)};
    const auto parent = [&](std::uint32_t i) { return &ws.nodes[i].parent; };
    for (int i = threadIdx.x; i < *tile.count(); i += kThreads) {
        const std::uint32_t index = tile.node(i), root = find_root(parent, index);
        if (root == index) {
            const std::uint32_t place = atomicAdd(&ws.counters[blockIdx.z].num_roots, 1u);
            root_list(ws, blockIdx.z)[place] = root;
            continue;
        }
        write_relaxed(parent(index), root);
        const ComponentNode& node = ws.nodes[index];
        ComponentNode& whole = ws.nodes[root];
        atomicMin(&whole.first, node.first);
        atomicMin(&whole.x_min, node.x_min);
        atomicMax(&whole.x_max, node.x_max);
        atomicMax(&whole.y_max, node.y_max);
    }
}

// One thread a pixel.
__global__ void __launch_bounds__(kThreads)
    labels_kernel(DeviceMaps maps, ComponentWorkspace ws, std::uint32_t* labels) {
    const int x = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
    const int y = blockIdx.y, map_number = blockIdx.z;
    if (x >= maps.width) return;
    const int column = x / kTileWidth, bit = x % kTileWidth;
    const Word word = *word_address(maps, ws, map_number, y, column);
    std::uint32_t label = 0;
    if (word >> bit & 1) {
        const std::uint32_t node = node_at(maps, ws, map_number, y, column, word, bit);
        if (node != kNoNode) label = 1 + ws.nodes[ws.nodes[node].parent].first;
    }
    labels[(static_cast<std::size_t>(map_number) * maps.height + y) * maps.width + x] = label;
}

template <class Item>
Item* cut(char*& at, std::size_t count) {
    constexpr std::size_t kAlignment = 256;
    Item* items = reinterpret_cast<Item*>(at);
    at += (count * sizeof(Item) + kAlignment - 1) / kAlignment * kAlignment;
    return items;
}

// Cuts a workspace out of a buffer; `at` ends behind it.
ComponentWorkspace cut_workspace(char*& at, int num_maps, int height, int width) {
    ComponentWorkspace ws{};
    ws.words_per_row = static_cast<int>(ceil_div(width, kTileWidth));
    ws.tile_rows = static_cast<int>(ceil_div(height, kTileHeight));
    const std::size_t maps = num_maps;
    const std::size_t num_words = maps * height * ws.words_per_row;
    const std::size_t num_tiles = maps * ws.tile_rows * ws.words_per_row;
    ws.words = cut<Word>(at, num_words);
    ws.run_nodes = cut<std::uint16_t>(at, num_words * kRunsPerWord);
    ws.nodes = cut<ComponentNode>(at, num_tiles * kNodesPerTile);
    ws.tile_counts = cut<std::uint16_t>(at, num_tiles);
    ws.counters = cut<ComponentCounters>(at, maps);
    ws.roots = cut<std::uint32_t>(at, num_tiles * kNodesPerTile);
    return ws;
}

}  // namespace

std::size_t component_workspace_bytes(int num_maps, int height, int width) {
    char* end = nullptr;
    cut_workspace(end, num_maps, height, width);
    return static_cast<std::size_t>(end - static_cast<char*>(nullptr));
}

ComponentWorkspace component_workspace(void* buffer, int num_maps, int height, int width) {
    char* at = static_cast<char*>(buffer);
    return cut_workspace(at, num_maps, height, width);
}

void find_components(const DeviceMaps& maps, float threshold, float min_area,
                     const ComponentWorkspace& workspace, Stream stream) {
    const TileParams params{maps, workspace, threshold, min_area};
    const dim3 tiles(workspace.words_per_row, workspace.tile_rows, maps.num_maps);
    if (maps.is_half) {
        DBNET_LAUNCH((tile_kernel<Half>), tiles, dim3(kThreads), stream, params);
    } else {
        DBNET_LAUNCH((tile_kernel<float>), tiles, dim3(kThreads), stream, params);
    }
    const unsigned num_border = (workspace.words_per_row - 1) * maps.height +
                                (workspace.tile_rows - 1) * workspace.words_per_row * kTileWidth;
    if (num_border > 0) {
        const dim3 grid(ceil_div(num_border, kThreads), 1, maps.num_maps);
        DBNET_LAUNCH(border_kernel, grid, dim3(kThreads), stream, params);
    }
    DBNET_LAUNCH(resolve_kernel, tiles, dim3(kThreads), stream, params);
    check_launch("find_components");
}

void write_labels(const DeviceMaps& maps, const ComponentWorkspace& workspace,
                  std::uint32_t* labels, Stream stream) {
    const dim3 grid(ceil_div(maps.width, kThreads), maps.height, maps.num_maps);
    DBNET_LAUNCH(labels_kernel, grid, dim3(kThreads), stream, maps, workspace, labels);
    check_launch("write_labels");
}

}  // namespace dbnet
