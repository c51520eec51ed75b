// SPDX-License-Identifier: Apache-2.0
//
// Connected components in three launches, without a memset or a wait of the host.
//   tile    one block per 64 x 32 pixels: threshold to one word per row, unite runs of neighbouring
//           rows in shared memory, number the components, drop specks that cannot become text
//   border  unite the nodes of neighbouring tiles, corners included
//   resolve fold the extents of each node into its root, list the roots
// Only the first launch touches every pixel, once; the others work on words and nodes.
#include "kernels/components.cuh"
#include "kernels/components.hpp"
#include "kernels/portable.hpp"
#include "kernels/tile.cuh"
#include "kernels/union_find.cuh"

namespace dbnet {
namespace {

// As for the tiles. The other kernels need 18 to 36 registers per thread (NVRTC 12.9), enough for 7
// blocks or more on a multiprocessor. Not measured on a GPU.
constexpr int kThreads = kTileThreads;

// One block per tile; the phases are members of Tile.
template <class T>
__global__ void __launch_bounds__(kThreads) tile_kernel(TileParams params) {
    Tile tile(params);
    if (blockIdx.x == 0 && blockIdx.y == 0 && tile.thread == 0) {
        params.workspace.counters[blockIdx.z] = {};  // later launches count
    }
    if (!__syncthreads_or(tile.binarize<T>())) {  // most tiles of a text map have no foreground
        if (tile.thread == 0) *tile.index.count() = 0;
        return;
    }
    tile.start_forest();
    __syncthreads();
    tile.unite_runs();
    __syncthreads();
    tile.find_roots();
    __syncthreads();
    if (tile.warp == 0) sum_up(tile.row_offsets, kTileHeight, tile.lane);
    __syncthreads();
    tile.number_roots();
    __syncthreads();
    tile.gather_extents();
    __syncthreads();
    const unsigned kept = tile.choose_components();
    __syncthreads();
    if (tile.warp == 0) sum_up(tile.kept_offsets, kWarpTurns, tile.lane);
    __syncthreads();
    const unsigned num_kept = tile.kept_offsets[kWarpTurns];
    if (tile.thread == 0) *tile.index.count() = static_cast<std::uint16_t>(num_kept);
    tile.write_nodes(kept);
    __syncthreads();
    tile.write_run_nodes();
}

__device__ __forceinline__ void join_nodes(const ComponentWorkspace& ws, std::uint32_t a,
                                           std::uint32_t b) {
    if (a == kNoNode || b == kNoNode) return;
    unite([&](std::uint32_t i) { return &ws.nodes[i].parent; }, a, b);
}

// Joins the first pixel of row y of a tile with its three neighbours in the tile to the left.
__device__ __forceinline__ void join_left(const DeviceMaps& maps, const ComponentWorkspace& ws,
                                          int map_number, int y, int column) {
    const Word word = *word_address(maps, ws, map_number, y, column);
    if (!(word & 1)) return;
    const std::uint32_t node = node_at(maps, ws, map_number, y, column, word, 0);
    for (int row = y > 0 ? y - 1 : 0; row <= y + 1 && row < maps.height; ++row) {
        const Word left = *word_address(maps, ws, map_number, row, column - 1);
        if (!(left >> 63)) continue;
        join_nodes(ws, node, node_at(maps, ws, map_number, row, column - 1, left, 63));
    }
}

// Joins the run in a slot of a tile's first row with the runs of the tile above.
__device__ __forceinline__ void join_above(const DeviceMaps& maps, const ComponentWorkspace& ws,
                                           int map_number, int y, int column, int slot) {
    const Word word = *word_address(maps, ws, map_number, y, column);
    const Word above = *word_address(maps, ws, map_number, y - 1, column);
    join_rows(above, word, slot, [&](int here, int there) {
        join_nodes(ws, node_of_run(maps, ws, map_number, y, column, here),
                   node_of_run(maps, ws, map_number, y - 1, column, there));
    });
}

// One thread per pixel of a tile's first column, whose left neighbours lie in another tile, or per
// slot of its first row. Threads share only the forest.
__global__ void __launch_bounds__(kThreads) border_kernel(TileParams params) {
    const DeviceMaps& maps = params.maps;
    const ComponentWorkspace& ws = params.workspace;
    const int map_number = blockIdx.z;
    const int num_left = (ws.words_per_row - 1) * maps.height;
    const int id = static_cast<int>(blockIdx.x * kThreads + threadIdx.x);
    if (id < num_left) {
        join_left(maps, ws, map_number, id % maps.height, id / maps.height + 1);
        return;
    }
    const int word = (id - num_left) / kRunsPerWord, slot = (id - num_left) % kRunsPerWord;
    const int y = (word / ws.words_per_row + 1) * kTileHeight;
    if (y < maps.height) join_above(maps, ws, map_number, y, word % ws.words_per_row, slot);
}

// One block per tile, one thread per node. Afterwards the parent of every node is its root.
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

// One thread per pixel; threads are independent.
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
Item* allocate(char*& at, std::size_t count) {
    constexpr std::size_t kAlignment = 256;
    Item* items = reinterpret_cast<Item*>(at);
    at += (count * sizeof(Item) + kAlignment - 1) / kAlignment * kAlignment;
    return items;
}

// Lays out a workspace from `at`, which ends up behind it.
ComponentWorkspace lay_out_workspace(char*& at, int num_maps, int height, int width) {
    ComponentWorkspace ws{};
    ws.words_per_row = static_cast<int>(ceil_div(width, kTileWidth));
    ws.tile_rows = static_cast<int>(ceil_div(height, kTileHeight));
    const std::size_t maps = num_maps;
    const std::size_t num_words = maps * height * ws.words_per_row;
    const std::size_t num_tiles = maps * ws.tile_rows * ws.words_per_row;
    ws.words = allocate<Word>(at, num_words);
    ws.run_nodes = allocate<std::uint16_t>(at, num_words * kRunsPerWord);
    ws.nodes = allocate<ComponentNode>(at, num_tiles * kNodesPerTile);
    ws.tile_counts = allocate<std::uint16_t>(at, num_tiles);
    ws.counters = allocate<ComponentCounters>(at, maps);
    ws.roots = allocate<std::uint32_t>(at, num_tiles * kNodesPerTile);
    return ws;
}

}  // namespace

std::size_t component_workspace_bytes(int num_maps, int height, int width) {
    char* end = nullptr;
    lay_out_workspace(end, num_maps, height, width);
    return static_cast<std::size_t>(end - static_cast<char*>(nullptr));
}

ComponentWorkspace component_workspace(void* buffer, int num_maps, int height, int width) {
    char* at = static_cast<char*>(buffer);
    return lay_out_workspace(at, num_maps, height, width);
}

void find_components(const DeviceMaps& maps, const ComponentParams* params,
                     const ComponentWorkspace& workspace, Stream stream) {
    const TileParams tile_params{maps, workspace, params};
    const dim3 tiles(workspace.words_per_row, workspace.tile_rows, maps.num_maps);
    if (maps.is_half) {
        DBNET_LAUNCH(tile_kernel<Half>, tiles, dim3(kThreads), stream, tile_params);
    } else {
        DBNET_LAUNCH(tile_kernel<float>, tiles, dim3(kThreads), stream, tile_params);
    }
    const unsigned num_border = (workspace.words_per_row - 1) * maps.height +
                                (workspace.tile_rows - 1) * workspace.words_per_row * kRunsPerWord;
    if (num_border > 0) {
        const dim3 grid(ceil_div(num_border, kThreads), 1, maps.num_maps);
        DBNET_LAUNCH(border_kernel, grid, dim3(kThreads), stream, tile_params);
    }
    DBNET_LAUNCH(resolve_kernel, tiles, dim3(kThreads), stream, tile_params);
}

void write_labels(const DeviceMaps& maps, const ComponentWorkspace& workspace,
                  std::uint32_t* labels, Stream stream) {
    const dim3 grid(ceil_div(maps.width, kThreads), maps.height, maps.num_maps);
    DBNET_LAUNCH(labels_kernel, grid, dim3(kThreads), stream, maps, workspace, labels);
}

}  // namespace dbnet
