// SPDX-License-Identifier: Apache-2.0
// Boxes from components, in one launch. A block handles one component at a time: row extents, hull,
// min-area rectangle, mean probability, unclipping, filters. The last block of each map sorts the
// candidates, writes the result and resets the counters for the next call.
#include <cmath>

#include "kernels/boxes.hpp"
#include "kernels/fill_quad.cuh"
#include "kernels/min_rectangle.cuh"

namespace dbnet {
namespace {

// 256: one thread per row, and most texts are shorter than 256 rows. At 64 registers per thread
// (nvcc 13.0; on sm_120 48, with spills) 4 blocks fit on a multiprocessor; their 4 x 15.6 KiB of
// shared memory are no limit. Not measured on a GPU.
constexpr int kThreads = 256, kWarps = kThreads / kWarpSize;

// 128: fixed, so that one graph fits any number of components; all resident at once on 32
// multiprocessors. Instruction counts suggest 512 for hundreds of texts on a large GPU: with 473
// boxes a block handles up to four in turn. Not measured on a GPU.
constexpr int kBlocksPerMap = 128;

constexpr int kRowsAtOnce = kThreads;  // row extents or spans in shared memory
constexpr float kMinSideGain = 2.f;    // as in the original code: 3 before unclipping, 5 after

/// A quad that passed the filters, in map pixels; corners are not ordered yet.
struct Candidate {
    PointF corners[4];
    float score;
    std::uint32_t first;  // first pixel of its component
};

/// Device memory of find_boxes, laid out in one buffer.
struct BoxWorkspace {
    ComponentWorkspace components;
    unsigned long long* sort_keys;  // (maps, kMaxCandidates): best score first, then raster order
    Candidate* candidates;          // (maps, kMaxCandidates)
};

/// Arguments of boxes_kernel.
struct BoxKernelParams {
    DeviceMaps maps;
    const MapSize* image_sizes;
    const BoxParams* box;
    BoxWorkspace workspace;
    FoundBoxes found;
};

/// A component, with the index of its root node.
struct Component {
    int map_number;
    std::uint32_t root;
    int x_min, y_min, x_max, y_max;
    std::uint32_t first;
};

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
__device__ RowSpan row_extent(const BoxKernelParams& params, const Component& component, int y) {
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

// Computes the component's min-area rectangle; the first warp writes it to rectangle[0]. Each
// thread finds the extent of one row at a time, then the first warp extends the right chain of the
// hull and the second warp the left one. Returns false for pixels in a line, which have no
// rectangle.
__device__ bool find_rectangle(const BoxKernelParams& params, const Component& component,
                               Shared<RowSpan> rows, Shared<RotatedRectangle> rectangle) {
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
        if (t < num_rows) rows[t] = row_extent(params, component, y + t);
        __syncthreads();
        if (warp == 0) right.extend(rows, num_rows, y, lane);
        if (warp == 1) left.extend(rows, num_rows, y, lane);
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

__device__ __forceinline__ float to_probability(float value, bool logits) {
    if (logits) value = 1.f / (1.f + expf(-value));
    return value > 0.f ? (value < 1.f ? value : 1.f) : 0.f;  // NaN is 0
}

// Sum over the block, returned to every thread.
__device__ unsigned long long sum_of_block(unsigned long long value) {
    DBNET_SHARED(unsigned long long, s_sums, kWarps);
    for (int step = kWarpSize / 2; step > 0; step /= 2) {
        value += __shfl_xor_sync(~0u, value, step);
    }
    __syncthreads();  // the last sums have been read
    if (threadIdx.x % kWarpSize == 0) s_sums[threadIdx.x / kWarpSize] = value;
    __syncthreads();
    unsigned long long sum = 0;
    for (int warp = 0; warp < kWarps; ++warp) sum += s_sums[warp];
    return sum;
}

// Mean probability over the pixels of fillPoly. Each thread finds the span of one row, each warp
// adds up one row at a time. Sums are whole numbers in units of 2^-24, so their order does not
// matter.
template <class T>
__device__ float mean_probability(const BoxKernelParams& params, const T* map, const Canvas& canvas,
                                  Shared<QuadSide> sides, Shared<RowSpan> rows) {
    constexpr float kOne = 1 << 24;
    const bool logits = params.box->logits;
    const int t = threadIdx.x, lane = t % kWarpSize, warp = t / kWarpSize;
    unsigned long long sum = 0, count = 0;
    for (int y = 0; y < canvas.height; y += kRowsAtOnce) {
        const int rows_left = canvas.height - y;
        const int num_rows = rows_left < kRowsAtOnce ? rows_left : kRowsAtOnce;
        __syncthreads();  // the rows before have been read
        if (t < num_rows) {
            const RowSpan span = fill_row(canvas, sides, y + t);
            rows[t] = span;
            if (span.end > span.begin) count += span.end - span.begin;
        }
        __syncthreads();
        for (int i = warp; i < num_rows; i += kWarps) {
            const RowSpan span = rows[i];
            const T* row = map + static_cast<std::size_t>(canvas.top + y + i) * params.maps.width;
            for (int x = span.begin + lane; x < span.end; x += kWarpSize) {
                const float probability = to_probability(to_float(row[x]), logits);
                sum += static_cast<unsigned>(probability * kOne);
            }
        }
    }
    sum = sum_of_block(sum);
    count = sum_of_block(count);
    return count > 0 ? static_cast<float>(sum) / static_cast<float>(count) / kOne : 0.f;
}

// D' = A' r' / L', for area A', perimeter L', ratio r'.
__device__ __forceinline__ double unclip_distance(const RotatedRectangle& rectangle,
                                                  float unclip_ratio) {
    return rectangle.area() * unclip_ratio / (2 * (rectangle.length() + rectangle.b_max));
}

// Called by one thread.
__device__ void append_candidate(const BoxKernelParams& params, const Component& component,
                                 const RotatedRectangle& rectangle, double distance, float score) {
    const int map_number = component.map_number;
    ComponentCounters& counters = params.workspace.components.counters[map_number];
    const std::uint32_t place = atomicAdd(&counters.num_candidates, 1u);
    if (place >= kMaxCandidates) return;
    const std::size_t at = static_cast<std::size_t>(map_number) * kMaxCandidates + place;
    Candidate& candidate = params.workspace.candidates[at];
    for (int k = 0; k < 4; ++k) candidate.corners[k] = corner(rectangle, distance, k);
    candidate.score = score;
    candidate.first = component.first;
    const unsigned long long worse = __float_as_uint(1.f) - __float_as_uint(score);
    params.workspace.sort_keys[at] = worse << 32 | component.first;
}

// Appends a candidate if the component passes the filters. All threads of the block take the same
// branches.
template <class T>
__device__ void read_text(const BoxKernelParams& params, const Component& component) {
    DBNET_SHARED(RowSpan, s_rows, kRowsAtOnce);
    DBNET_SHARED(RotatedRectangle, s_rectangle, 1);
    DBNET_SHARED(PointF, s_corners, 4);
    DBNET_SHARED(QuadSide, s_sides, 4);
    const DeviceMaps& maps = params.maps;
    const float min_side = params.box->min_side;
    const int width = component.x_max - component.x_min, height = component.y_max - component.y_min;
    // The min-area rectangle is no larger than the upright one: this drops most specks.
    if (static_cast<float>(width * height) < min_side * min_side) return;
    if (!find_rectangle(params, component, s_rows, s_rectangle)) return;
    const RotatedRectangle rectangle = s_rectangle[0];
    if (rectangle.short_side() < min_side) return;

    const int t = threadIdx.x;
    if (t < 4) s_corners[t] = corner(rectangle, 0, t);
    __syncthreads();
    const PointF quad[4] = {s_corners[0], s_corners[1], s_corners[2], s_corners[3]};
    const Canvas canvas = make_canvas(quad, maps.sizes[component.map_number]);
    if (t < 4) {
        s_sides[t] =
            make_side(canvas, to_canvas(canvas, quad[t]), to_canvas(canvas, quad[(t + 1) % 4]));
    }
    const T* map = static_cast<const T*>(maps.values) +
                   static_cast<std::size_t>(component.map_number) * maps.height * maps.width;
    const float score = mean_probability(params, map, canvas, s_sides, s_rows);
    if (t != 0 || score < params.box->score_threshold) return;
    const double distance = unclip_distance(rectangle, params.box->unclip_ratio);
    if (rectangle.short_side() + 2 * distance < min_side + kMinSideGain) return;
    append_candidate(params, component, rectangle, distance, score);
}

// ---- the last block of a map --------------------------------------------------------------------

// Whether all other blocks of this map have finished. If so, every thread sees what those blocks
// wrote, provided that it reads with read_relaxed.
__device__ bool is_last_block(ComponentCounters& counters) {
    DBNET_SHARED(std::uint32_t, s_num_done, 1);
    if (threadIdx.x == 0) {
        __threadfence();  // this thread alone wrote the block's results
        s_num_done[0] = atomicAdd(&counters.num_blocks_done, 1u);
        __threadfence();
    }
    __syncthreads();
    return s_num_done[0] == gridDim.x - 1;
}

__device__ __forceinline__ void order_pair(PointF& a, PointF& b, bool swap) {
    const PointF first = swap ? b : a, second = swap ? a : b;
    a = first;
    b = second;
}

// Orders corners clockwise from the text's top left: the upper one of the two leftmost.
__device__ __forceinline__ void order_corners(PointF (&p)[4]) {
    constexpr int kPairs[5][2] = {{0, 1}, {2, 3}, {0, 2}, {1, 3}, {1, 2}};  // sorts four by x, y
    for (const auto& pair : kPairs) {
        PointF &a = p[pair[0]], &b = p[pair[1]];
        order_pair(a, b, b.x < a.x || (b.x == a.x && b.y < a.y));
    }
    order_pair(p[0], p[1], p[1].y < p[0].y);
    order_pair(p[2], p[3], p[3].y < p[2].y);
    const PointF low_left = p[1];
    p[1] = p[2];
    p[2] = p[3];
    p[3] = low_left;
}

__device__ __forceinline__ float clip(float value, int side) {
    return fminf(fmaxf(value, 0.f), static_cast<float>(side - 1));
}

// Called by one thread.
__device__ void write_box(const BoxKernelParams& params, int map_number, const Candidate& candidate,
                          TextBox& box) {
    const MapSize size = params.maps.sizes[map_number], image = params.image_sizes[map_number];
    const float scale_x = static_cast<float>(image.width) / static_cast<float>(size.width);
    const float scale_y = static_cast<float>(image.height) / static_cast<float>(size.height);
    PointF corners[4];
    for (int k = 0; k < 4; ++k) {
        corners[k] = {read_relaxed(&candidate.corners[k].x), read_relaxed(&candidate.corners[k].y)};
    }
    order_corners(corners);
    for (int k = 0; k < 4; ++k) {
        box.quad[k][0] = clip(corners[k].x * scale_x, image.width);
        box.quad[k][1] = clip(corners[k].y * scale_y, image.height);
    }
    box.score = read_relaxed(&candidate.score);
    box.label = 1 + read_relaxed(&candidate.first);
}

__device__ __forceinline__ int max_boxes(const BoxKernelParams& params) {
    const int wanted = params.box->max_boxes, capacity = params.found.capacity;
    return wanted < capacity ? wanted : capacity;
}

// Writes the best candidates in order. The rank of a thread's candidate is the number of smaller
// keys; no two keys are equal.
__device__ void write_boxes(const BoxKernelParams& params, int map_number, int num_candidates) {
    DBNET_SHARED(unsigned long long, s_keys, kThreads);
    const std::size_t base = static_cast<std::size_t>(map_number) * kMaxCandidates;
    const unsigned long long* keys = params.workspace.sort_keys + base;
    const int t = threadIdx.x, capacity = params.found.capacity;
    for (int mine = t; mine - t < num_candidates; mine += kThreads) {
        const bool exists = mine < num_candidates;
        const unsigned long long key = exists ? read_relaxed(&keys[mine]) : 0;
        int rank = 0;
        for (int others = 0; others < num_candidates; others += kThreads) {
            __syncthreads();  // the keys before have been read
            if (others + t < num_candidates) s_keys[t] = read_relaxed(&keys[others + t]);
            __syncthreads();
            for (int i = 0; i < kThreads && others + i < num_candidates; ++i) {
                rank += s_keys[i] < key;
            }
        }
        if (exists && rank < max_boxes(params)) {
            write_box(params, map_number, params.workspace.candidates[base + mine],
                      params.found.boxes[static_cast<std::size_t>(map_number) * capacity + rank]);
        }
    }
}

// Each block handles every kBlocksPerMap-th component of its map. Blocks share only the list of
// candidates and the count of finished blocks.
template <class T>
__global__ void __launch_bounds__(kThreads) boxes_kernel(BoxKernelParams params) {
    const int map_number = blockIdx.z;
    ComponentCounters& counters = params.workspace.components.counters[map_number];
    // An idle block may read this after the last block's reset: it has no component either way.
    const std::uint32_t num_roots = read_relaxed(&counters.num_roots);
    for (std::uint32_t i = blockIdx.x; i < num_roots; i += gridDim.x) {
        read_text<T>(params, read_component(params, map_number, i));
    }
    if (!is_last_block(counters)) return;
    const std::uint32_t num_found = read_relaxed(&counters.num_candidates);
    const std::uint32_t num_kept = num_found < kMaxCandidates ? num_found : kMaxCandidates;
    write_boxes(params, map_number, static_cast<int>(num_kept));
    if (threadIdx.x != 0) return;
    const std::uint32_t limit = max_boxes(params);
    params.found.counts[map_number] = {num_kept < limit ? num_kept : limit, num_found - num_kept};
    write_relaxed(&counters.num_roots, std::uint32_t{0});
    write_relaxed(&counters.num_candidates, std::uint32_t{0});
    write_relaxed(&counters.num_blocks_done, std::uint32_t{0});
}

BoxWorkspace lay_out_workspace(void* buffer, int num_maps, int height, int width,
                               std::size_t& size) {
    const std::size_t num_candidates = static_cast<std::size_t>(num_maps) * kMaxCandidates;
    const std::size_t component_bytes = component_workspace_bytes(num_maps, height, width);
    const std::size_t key_bytes = num_candidates * sizeof(unsigned long long);
    size = component_bytes + key_bytes + num_candidates * sizeof(Candidate);
    char* at = static_cast<char*>(buffer);
    return {component_workspace(at, num_maps, height, width),
            reinterpret_cast<unsigned long long*>(at + component_bytes),
            reinterpret_cast<Candidate*>(at + component_bytes + key_bytes)};
}

}  // namespace

std::size_t box_workspace_bytes(int num_maps, int height, int width) {
    std::size_t size;
    lay_out_workspace(nullptr, num_maps, height, width, size);
    return size;
}

void find_boxes(const DeviceMaps& maps, const MapSize* image_sizes, const BoxParams* params,
                void* workspace, const FoundBoxes& found, Stream stream) {
    std::size_t size;
    const BoxWorkspace ws =
        lay_out_workspace(workspace, maps.num_maps, maps.height, maps.width, size);
    find_components(maps, &params->components, ws.components, stream);
    const BoxKernelParams kernel_params{maps, image_sizes, params, ws, found};
    const dim3 grid(kBlocksPerMap, 1, maps.num_maps);
    if (maps.is_half) {
        DBNET_LAUNCH((boxes_kernel<Half>), grid, dim3(kThreads), stream, kernel_params);
    } else {
        DBNET_LAUNCH((boxes_kernel<float>), grid, dim3(kThreads), stream, kernel_params);
    }
    check_launch("find_boxes");
}

void write_box_labels(const DeviceMaps& maps, void* workspace, std::uint32_t* labels,
                      Stream stream) {
    std::size_t size;
    const BoxWorkspace ws =
        lay_out_workspace(workspace, maps.num_maps, maps.height, maps.width, size);
    write_labels(maps, ws.components, labels, stream);
}

}  // namespace dbnet
