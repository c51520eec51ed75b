// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/stream.hpp"

namespace dbnet {

/// Maximum side of a map in pixels: areas are then exact, as in csrc/geometry.cpp.
constexpr int kMaxMapSide = 1 << 13;

/// Size of a tile in pixels. 64 wide: a row of a tile is one 64-bit word, two ballots of a warp. 32
/// high: the rows of a component fit in a 32-bit word, and the forest, labels and extents of the
/// tile take 15.4 KiB of shared memory, so that four blocks fit on any multiprocessor since sm_61.
/// Other sizes were not measured on a GPU.
constexpr int kTileWidth = 64, kTileHeight = 32;

/// Maximum number of runs in a row of a tile: they start at least two pixels apart.
constexpr int kRunsPerWord = kTileWidth / 2;

/// Maximum number of 8-connected components in a tile: one pixel in each 2x2 block.
constexpr int kNodesPerTile = kTileWidth * kTileHeight / 4;

/// 64 pixels of a row, the first in the lowest bit; a type that CUDA has atomics for.
using Word = unsigned long long;

/// The part of a padded map that shows an image.
struct MapSize {
    std::int32_t height, width;
};

/// A batch of network outputs on the device: num_maps x (height, width) float or half, contiguous.
struct DeviceMaps {
    const void* values;
    bool is_half;
    const MapSize* sizes;  // (num_maps) on the device: what is looked at
    int num_maps, height, width;
};

/// Which pixels make components, and which of these are kept. On the device: a captured graph
/// takes new values without being captured again.
struct ComponentParams {
    float map_threshold;  // in the map's values: of logits where these are what it holds
    float min_area;       // px, of a component's upright rectangle, last pixel minus first
};

/// A component of one tile; where tiles meet, nodes are joined into trees. A root's node tells of
/// the whole component.
struct ComponentNode {
    std::uint32_t parent;  // index of a node, its own for a root
    std::uint32_t first;   // y * width + x of the first pixel in raster order
    std::int32_t x_min, x_max, y_max;
};

/// What the stages hand to each other for each map of a batch.
struct ComponentCounters {
    std::uint32_t num_roots, num_candidates, num_blocks_done;
};

/// Device memory of the labelling, cut out of one buffer.
struct ComponentWorkspace {
    Word* words;               // (maps, height, words_per_row)
    std::uint16_t* run_nodes;  // (maps, height, words_per_row, 32): node of the run starting there
    ComponentNode* nodes;      // (maps, tiles, kNodesPerTile)
    std::uint16_t* tile_counts;   // (maps, tiles)
    ComponentCounters* counters;  // (maps); zero before the first use, and left zero by each
    std::uint32_t* roots;         // (maps, tiles * kNodesPerTile): indices of nodes, in no order
    int words_per_row, tile_rows;
};

/// Bytes that a workspace takes, and the workspace in a buffer of that size (256-byte aligned).
std::size_t component_workspace_bytes(int num_maps, int height, int width);
ComponentWorkspace component_workspace(void* buffer, int num_maps, int height, int width);

/// Label the pixels greater than `map_threshold`, 8-connected; `params` is on the device.
/// Afterwards `roots` lists the components of each map whose upright rectangle has at least
/// `min_area` pixels, or that spread over tiles. Asynchronous on `stream`.
void find_components(const DeviceMaps& maps, const ComponentParams* params,
                     const ComponentWorkspace& workspace, Stream stream);

/// Write 1 + `first` of its component into every pixel of a component on the list, 0 elsewhere:
/// labels, (maps, height, width) uint32 on the device. After find_components.
void write_labels(const DeviceMaps& maps, const ComponentWorkspace& workspace,
                  std::uint32_t* labels, Stream stream);

}  // namespace dbnet
