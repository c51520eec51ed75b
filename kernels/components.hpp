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

/// 64 pixels of a row, the first in the lowest bit. CUDA has atomics for this type, not for
/// std::uint64_t.
using Word = unsigned long long;

/// Valid size of a padded map: the top left part that shows an image.
struct alignas(8) MapSize {
    std::int32_t height, width;
};

/// A batch of network outputs on the device: (num_maps, height, width) float or half, contiguous
/// and aligned to 16 bytes. It is read in units of 16 bytes: the memory extends to the end of the
/// last.
struct DeviceMaps {
    const void* values;
    bool is_half;
    const MapSize* sizes;  // (num_maps) on the device, valid sizes
    int num_maps, height, width;
};

/// Parameters of find_components. On the device, so that a captured graph takes new values without
/// being captured again.
struct ComponentParams {
    float map_threshold;  // in the units of the map: a logit where the map holds logits
    float min_area;       // of a component's upright rectangle, (x_max - x_min) (y_max - y_min)
};

/// A component within one tile. Components that touch across tiles are joined into trees of nodes;
/// the root holds first pixel and extents of the whole component.
struct ComponentNode {
    std::uint32_t parent;  // index of a node; a root is its own parent
    std::uint32_t first;   // y * width + x of the first pixel in raster order
    std::int32_t x_min, x_max, y_max;
};

/// Counters of one map, passed between the launches. The first launch of find_components resets
/// them.
struct ComponentCounters {
    std::uint32_t num_roots, num_candidates, num_large;
};

/// Device memory of find_components, laid out in one buffer.
struct ComponentWorkspace {
    Word* words;               // (maps, height, words_per_row)
    std::uint16_t* run_nodes;  // (maps, height, words_per_row, 32): node of the run starting there
    ComponentNode* nodes;      // (maps, tiles, kNodesPerTile)
    std::uint16_t* tile_counts;   // (maps, tiles)
    ComponentCounters* counters;  // (maps)
    std::uint32_t* roots;  // (maps, tiles * kNodesPerTile): root nodes in no particular order
    int words_per_row, tile_rows;
};

/// Size in bytes of a workspace.
std::size_t component_workspace_bytes(int num_maps, int height, int width);

/// Lay out a workspace in a device buffer of component_workspace_bytes, aligned to 256 bytes.
ComponentWorkspace component_workspace(void* buffer, int num_maps, int height, int width);

/// Find the 8-connected components of the pixels greater than `map_threshold`. `params` is on the
/// device. Afterwards `roots` lists the components of each map whose upright rectangle has at least
/// `min_area`, or that touch a neighbouring tile. Asynchronous on `stream`.
void find_components(const DeviceMaps& maps, const ComponentParams* params,
                     const ComponentWorkspace& workspace, Stream stream);

/// Label the listed components, after find_components. `labels`: (maps, height, width) uint32 on
/// the device, 1 + the component's `first`; 0 elsewhere. Asynchronous on `stream`.
void write_labels(const DeviceMaps& maps, const ComponentWorkspace& workspace,
                  std::uint32_t* labels, Stream stream);

}  // namespace dbnet
