// SPDX-License-Identifier: Apache-2.0
//
// Resize, normalise and pad a batch in one launch. One thread computes two pixels of a column of
// the network's input, all three channels; threads are independent. For a pixel it writes 12 or 6
// bytes and reads four source pixels, mostly from the cache. Instruction counts, some 140 per
// pixel, suggest that it is bound by instruction issue rather than memory; not measured on a GPU.
#include "kernels/portable.hpp"
#include "kernels/preprocess.hpp"

namespace dbnet {
namespace {

// 32 x 8: a warp is 32 pixels of a row, so that its writes to each plane are contiguous and share
// the row's tap; the 8 rows of a block read overlapping source rows from the cache. Then the block
// goes on to the next 8 rows, with the same columns. More rows would be fewer instructions, but on
// a large GPU longer waits for memory. Not measured on a GPU.
constexpr unsigned kBlockWidth = 32, kBlockHeight = 8, kRowsPerThread = 2;

/// The channels of one pixel.
struct Pixel {
    int channel[3];  // blue, green, red
};

__device__ __forceinline__ int to_byte(int value) {
    return value < 0 ? 0 : value > 255 ? 255 : value;
}

__device__ __forceinline__ Pixel read_bgr(const DeviceImage& image, int x, int y) {
    const std::uint8_t* p = image.pixels + y * image.pitch + 3 * static_cast<std::ptrdiff_t>(x);
    return {{p[0], p[1], p[2]}};
}

// In 20-bit fixed point, as OpenCV's COLOR_YUV2BGR_NV12.
__device__ __forceinline__ Pixel read_nv12(const DeviceImage& image, int x, int y) {
    constexpr int kShift = 20, kHalf = 1 << (kShift - 1);
    const YuvColors& colors = image.colors;
    const std::uint8_t* chroma = image.chroma + (y / 2) * image.chroma_pitch + (x & ~1);
    const int u = chroma[0] - 128, v = chroma[1] - 128;
    const int luma = image.pixels[y * image.pitch + x] - colors.black;
    const int base = (luma > 0 ? luma : 0) * colors.luma + kHalf;
    return {{to_byte((base + colors.blue_u * u) >> kShift),
             to_byte((base + colors.green_v * v + colors.green_u * u) >> kShift),
             to_byte((base + colors.red_v * v) >> kShift)}};
}

template <bool kNv12>
__device__ __forceinline__ Pixel read_pixel(const DeviceImage& image, int x, int y) {
    return kNv12 ? read_nv12(image, x, y) : read_bgr(image, x, y);
}

// OpenCV's rounding: 11-bit weights across, keeping 15 bits, then down to 8. Weights are not
// negative and add up to 2048, or by rounding to 2049 at most: the result is a byte.
__device__ __forceinline__ int blend(int p00, int p01, int p10, int p11, const ResizeTap& column,
                                     const ResizeTap& row) {
    const int upper = (p00 * column.first_weight + p01 * column.second_weight) >> 4;
    const int lower = (p10 * column.first_weight + p11 * column.second_weight) >> 4;
    return (((upper * row.first_weight) >> 16) + ((lower * row.second_weight) >> 16) + 2) >> 2;
}

template <bool kNv12>
__device__ __forceinline__ Pixel resized_pixel(const DeviceImage& image, const ResizeTap& column,
                                               const ResizeTap& row) {
    const Pixel p00 = read_pixel<kNv12>(image, column.first, row.first);
    const Pixel p01 = read_pixel<kNv12>(image, column.second, row.first);
    const Pixel p10 = read_pixel<kNv12>(image, column.first, row.second);
    const Pixel p11 = read_pixel<kNv12>(image, column.second, row.second);
    Pixel result;
    for (int c = 0; c < 3; ++c) {
        result.channel[c] =
            blend(p00.channel[c], p01.channel[c], p10.channel[c], p11.channel[c], column, row);
    }
    return result;
}

// A thread's pixels are kBlockHeight rows apart; a block works on one image.
template <class T>
__global__ void preprocess_kernel(const DeviceImage* images, PreprocessParams params, T* out) {
    const int x = static_cast<int>(blockIdx.x * kBlockWidth + threadIdx.x);
    const int top = static_cast<int>(blockIdx.y * kBlockHeight * kRowsPerThread + threadIdx.y);
    const int bottom = top + static_cast<int>(kBlockHeight * kRowsPerThread);
    if (x >= params.padded_width) return;
    const DeviceImage image = images[blockIdx.z];
    const int num_rows = x < image.resized_width ? image.resized_height : 0;
    const ResizeTap column = num_rows > 0 ? image.column_taps[x] : ResizeTap{};
    const std::size_t width = params.padded_width, plane = params.padded_height * width;
    T* at = out + (3 * plane * blockIdx.z + top * width + x);
    for (int y = top; y < bottom && y < params.padded_height; y += kBlockHeight) {
        Pixel pixel{};
        if (y < num_rows) {
            const ResizeTap row = image.row_taps[y];
            pixel = image.chroma == nullptr ? resized_pixel<false>(image, column, row)
                                            : resized_pixel<true>(image, column, row);
        }
        for (int c = 0; c < 3; ++c) {
            const int value = params.swap_red_blue ? pixel.channel[2 - c] : pixel.channel[c];
            const float normalized =
                multiply_add(static_cast<float>(value), params.scale[c], params.bias[c]);
            at[c * plane] = from_float<T>(y < num_rows ? normalized : 0.f);
        }
        at += kBlockHeight * width;
    }
}

template <class T>
void launch(const DeviceImage* images, const PreprocessParams& params, T* out, Stream stream) {
    const dim3 grid(ceil_div(params.padded_width, kBlockWidth),
                    ceil_div(params.padded_height, kBlockHeight * kRowsPerThread),
                    params.num_images);
    const dim3 block(kBlockWidth, kBlockHeight);
    DBNET_LAUNCH(preprocess_kernel<T>, grid, block, stream, images, params, out);
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
