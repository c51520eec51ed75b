// SPDX-License-Identifier: Apache-2.0
//
// Resize, normalise and pad a batch in one launch. One thread computes two neighbouring pixels of a
// row of the network's input, all three channels; threads are independent. For a pixel it writes 12
// or 6 bytes and reads four source pixels, mostly from the cache. Instruction counts, some 125 per
// pixel, suggest that it is bound by instruction issue rather than memory; not measured on a GPU.
#include "kernels/portable.hpp"
#include "kernels/preprocess.hpp"

namespace dbnet {
namespace {

// 32 x 8: a warp is 64 pixels of a row, so that its writes to each plane are contiguous and share
// the row's tap; the 8 rows of a block read overlapping source rows from the cache. More pixels for
// a thread would be fewer instructions, but on a large GPU longer waits for memory. Not measured on
// a GPU.
constexpr unsigned kBlockWidth = 32, kBlockHeight = 8;
constexpr int kPixelsPerThread = 2;

/// The channels of one pixel.
struct Pixel {
    int channel[3];  // blue, green, red
};

__device__ __forceinline__ int to_byte(int value) {
    return value < 0 ? 0 : value > 255 ? 255 : value;
}

/// A row of the source.
struct SourceRow {
    const std::uint8_t *pixels, *chroma;
};

// Offsets fit into 32 bits by themselves; their product would be several instructions of 64 bits.
template <bool kNv12>
__device__ __forceinline__ SourceRow row_at(const DeviceImage& image, int y) {
    const auto offset = [](int row, std::ptrdiff_t pitch) {
        return static_cast<std::ptrdiff_t>(row) * static_cast<int>(pitch);
    };
    return {image.pixels + offset(y, image.pitch),
            kNv12 ? image.chroma + offset(y / 2, image.chroma_pitch) : nullptr};
}

__device__ __forceinline__ Pixel read_bgr(const SourceRow& row, int x) {
    const std::uint8_t* p = row.pixels + 3 * x;
    return {{p[0], p[1], p[2]}};
}

// In 20-bit fixed point, as OpenCV's COLOR_YUV2BGR_NV12.
__device__ __forceinline__ Pixel read_nv12(const SourceRow& row, int x, const YuvColors& colors) {
    constexpr int kShift = 20, kHalf = 1 << (kShift - 1);
    const std::uint8_t* chroma = row.chroma + (x & ~1);
    const int u = chroma[0] - 128, v = chroma[1] - 128;
    const int luma = row.pixels[x] - colors.black;
    const int base = (luma > 0 ? luma : 0) * colors.luma + kHalf;
    return {{to_byte((base + colors.blue_u * u) >> kShift),
             to_byte((base + colors.green_v * v + colors.green_u * u) >> kShift),
             to_byte((base + colors.red_v * v) >> kShift)}};
}

template <bool kNv12>
__device__ __forceinline__ Pixel read_pixel(const SourceRow& row, int x, const YuvColors& colors) {
    return kNv12 ? read_nv12(row, x, colors) : read_bgr(row, x);
}

// OpenCV's rounding: 11-bit weights across, keeping 15 bits, then down to 8. Weights are not
// negative and add up to 2048, or by rounding to 2049 at most: the result is a byte.
__device__ __forceinline__ int blend(int p00, int p01, int p10, int p11, const ResizeTap& column,
                                     const ResizeTap& row) {
    const int upper = (p00 * column.first_weight + p01 * column.second_weight) >> 4;
    const int lower = (p10 * column.first_weight + p11 * column.second_weight) >> 4;
    return (((upper * row.first_weight) >> 16) + ((lower * row.second_weight) >> 16) + 2) >> 2;
}

/// Values of neighbouring pixels, which are written at once.
template <class T>
struct alignas(kPixelsPerThread * sizeof(T)) Pack {
    T values[kPixelsPerThread];
};

// Resizes and normalises the pixels of a row from column x on, for each channel.
template <bool kNv12, class T>
__device__ __forceinline__ void set_pixels(const DeviceImage& image, const PreprocessParams& params,
                                           int x, int y, Pack<T> (&channels)[3]) {
    const ResizeTap row = image.row_taps[y];
    const SourceRow upper = row_at<kNv12>(image, row.first);
    const SourceRow lower = row_at<kNv12>(image, row.second);
    const YuvColors colors = kNv12 ? image.colors : YuvColors{};
    for (int k = 0; k < kPixelsPerThread; ++k) {
        const bool is_inside = x + k < image.resized_width;
        const ResizeTap column = image.column_taps[is_inside ? x + k : x];
        const Pixel p00 = read_pixel<kNv12>(upper, column.first, colors);
        const Pixel p01 = read_pixel<kNv12>(upper, column.second, colors);
        const Pixel p10 = read_pixel<kNv12>(lower, column.first, colors);
        const Pixel p11 = read_pixel<kNv12>(lower, column.second, colors);
        for (int c = 0; c < 3; ++c) {
            const int value =
                blend(p00.channel[c], p01.channel[c], p10.channel[c], p11.channel[c], column, row);
            const float normalized =
                multiply_add(static_cast<float>(value), params.scale[c], params.bias[c]);
            channels[c].values[k] = from_float<T>(is_inside ? normalized : 0.f);
        }
    }
}

// `params` has scale and bias in the order of the source's channels. A block works on one image.
template <class T>
__global__ void preprocess_kernel(const DeviceImage* images, PreprocessParams params, T* out) {
    const int x = static_cast<int>(blockIdx.x * kBlockWidth + threadIdx.x) * kPixelsPerThread;
    const int y = static_cast<int>(blockIdx.y * kBlockHeight + threadIdx.y);
    if (x >= params.padded_width || y >= params.padded_height) return;
    const DeviceImage& image = images[blockIdx.z];
    Pack<T> channels[3] = {};
    if (y < image.resized_height && x < image.resized_width) {
        if (image.chroma == nullptr) {
            set_pixels<false>(image, params, x, y, channels);
        } else {
            set_pixels<true>(image, params, x, y, channels);
        }
    }
    const std::ptrdiff_t width = params.padded_width, plane = params.padded_height * width;
    T* const at = out + (3 * plane * blockIdx.z + y * width + x);
    const std::ptrdiff_t last = 2 * plane;
    *reinterpret_cast<Pack<T>*>(at + (params.swap_red_blue ? last : 0)) = channels[0];
    *reinterpret_cast<Pack<T>*>(at + plane) = channels[1];
    *reinterpret_cast<Pack<T>*>(at + (params.swap_red_blue ? 0 : last)) = channels[2];
}

template <class T>
void launch(const DeviceImage* images, const PreprocessParams& params, T* out, Stream stream) {
    const dim3 grid(ceil_div(params.padded_width, kBlockWidth * kPixelsPerThread),
                    ceil_div(params.padded_height, kBlockHeight), params.num_images);
    const dim3 block(kBlockWidth, kBlockHeight);
    PreprocessParams ordered = params;
    for (int c = 0; c < 3 && params.swap_red_blue; ++c) {
        ordered.scale[c] = params.scale[2 - c];
        ordered.bias[c] = params.bias[2 - c];
    }
    DBNET_LAUNCH(preprocess_kernel<T>, grid, block, stream, images, ordered, out);
}

}  // namespace

void preprocess(const DeviceImage* images, const PreprocessParams& params, void* out,
                Stream stream) {
    if (params.out_is_half) {
        launch(images, params, static_cast<Half*>(out), stream);
    } else {
        launch(images, params, static_cast<float*>(out), stream);
    }
}

}  // namespace dbnet
