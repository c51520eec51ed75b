// SPDX-License-Identifier: Apache-2.0
//
// OpenCV's INTER_LINEAR in two passes. Across: each source row is interpolated at most once, with
// 11-bit weights, to 15 bits per channel. Down: two such rows are blended, rounded to 8 bits,
// normalised to floats and split into planes. Rows between the passes hold four int16 per pixel
// (B, G, R, unused), so that both passes fill whole registers.
#include "csrc/preprocess.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "csrc/cpu_features.hpp"
#include "kernels/resize_taps.hpp"

namespace dbnet {
namespace {

constexpr int kLanes = 4;  // int16 values per pixel between the passes

// One row of the output: a pointer, scale and bias per plane, in the source's channel order.
struct PlaneRow {
    std::array<float*, 3> plane;
    std::array<float, 3> scale, bias;
};

// ---- portable ----------------------------------------------------------------------------------

void interpolate_across(const std::uint8_t* source, const ResizeTap* taps, int begin, int end,
                        std::int16_t* row) {
    for (int x = begin; x < end; ++x) {
        const ResizeTap& tap = taps[x];
        const std::uint8_t* a = source + 3 * static_cast<std::ptrdiff_t>(tap.first);
        const std::uint8_t* b = source + 3 * static_cast<std::ptrdiff_t>(tap.second);
        for (int c = 0; c < 3; ++c) {
            const int value = a[c] * tap.first_weight + b[c] * tap.second_weight;
            row[kLanes * x + c] = static_cast<std::int16_t>(value >> 4);
        }
    }
}

void blend_down(const std::int16_t* upper, const std::int16_t* lower, const ResizeTap& tap,
                int begin, int end, const PlaneRow& out) {
    for (int c = 0; c < 3; ++c) {
        for (int x = begin; x < end; ++x) {
            const int a = (tap.first_weight * upper[kLanes * x + c]) >> 16;
            const int b = (tap.second_weight * lower[kLanes * x + c]) >> 16;
            const int pixel = std::clamp((a + b + 2) >> 2, 0, 255);
            out.plane[c][x] = static_cast<float>(pixel) * out.scale[c] + out.bias[c];
        }
    }
}

// ---- AVX2 --------------------------------------------------------------------------------------

#if defined(DBNET_HAS_AVX2_CODE)
// One pixel, interpolated across: the two source pixels as int16 (B0, B1, G0, G1, R0, R1), times
// the weights, summed in pairs to int32 (B, G, R, 0).
DBNET_AVX2 inline __m128i across_pixel(const std::uint8_t* source, const ResizeTap& tap) {
    const __m128i spread = _mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1);
    const __m128i bytes = _mm_loadl_epi64(
        reinterpret_cast<const __m128i*>(source + 3 * static_cast<std::ptrdiff_t>(tap.first)));
    int weights;
    std::memcpy(&weights, &tap.first_weight, sizeof weights);
    return _mm_srai_epi32(_mm_madd_epi16(_mm_shuffle_epi8(bytes, spread), _mm_set1_epi32(weights)),
                          4);
}

DBNET_AVX2 void interpolate_across_avx2(const std::uint8_t* source, const ResizeTap* taps, int end,
                                        std::int16_t* row) {
    for (int x = 0; x < end; x += 2) {
        _mm_storeu_si128(
            reinterpret_cast<__m128i*>(row + kLanes * x),
            _mm_packs_epi32(across_pixel(source, taps[x]), across_pixel(source, taps[x + 1])));
    }
}

// Four pixels of the blended row as int16 (B, G, R, unused), before they are packed to bytes.
DBNET_AVX2 inline __m256i down_pixels(const std::int16_t* upper, const std::int16_t* lower,
                                      __m256i upper_weight, __m256i lower_weight) {
    const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(upper));
    const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lower));
    const __m256i sum =
        _mm256_add_epi16(_mm256_mulhi_epi16(a, upper_weight), _mm256_mulhi_epi16(b, lower_weight));
    return _mm256_srai_epi16(_mm256_add_epi16(sum, _mm256_set1_epi16(2)), 2);
}

DBNET_AVX2 void blend_down_avx2(const std::int16_t* upper, const std::int16_t* lower,
                                const ResizeTap& tap, int end, const PlaneRow& out) {
    const __m256i upper_weight = _mm256_set1_epi16(tap.first_weight);
    const __m256i lower_weight = _mm256_set1_epi16(tap.second_weight);
    const __m256i planes =
        _mm256_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15,  //
                         0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    // Packing leaves pixels (0-1, 4-5) and (2-3, 6-7) in the two lanes; a permutation sorts them.
    // Then `planes` groups the channels of each four pixels, and `order` those of all eight.
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (int x = 0; x < end; x += 8) {
        const __m256i first =
            down_pixels(upper + kLanes * x, lower + kLanes * x, upper_weight, lower_weight);
        const __m256i second = down_pixels(upper + kLanes * (x + 4), lower + kLanes * (x + 4),
                                           upper_weight, lower_weight);
        const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packus_epi16(first, second), 0xD8);
        const __m256i split =
            _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(bytes, planes), order);
        const __m128i blue_green = _mm256_castsi256_si128(split);
        const __m128i red = _mm256_extracti128_si256(split, 1);
        const __m128i channel[3] = {blue_green, _mm_srli_si128(blue_green, 8), red};
        for (int c = 0; c < 3; ++c) {
            const __m256 pixel = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(channel[c]));
            _mm256_storeu_ps(out.plane[c] + x,
                             _mm256_add_ps(_mm256_mul_ps(pixel, _mm256_set1_ps(out.scale[c])),
                                           _mm256_set1_ps(out.bias[c])));
        }
    }
}
#endif

// ---- portable or AVX2 --------------------------------------------------------------------------

/// Source rows interpolated across, each at most once; keeps the last two.
class RowCache {
public:
    RowCache(const ImageView& image, int width)
        : image_(image), taps_(make_taps(width, image.width, Axis::kColumns)) {
        for (auto& row : rows_) row.resize(static_cast<std::size_t>(kLanes) * width);
        // The AVX2 code loads 8 bytes from a pixel's first sample: they must end within the row.
        while (num_fast_ < width && 3 * taps_[num_fast_].first + 8 <= 3 * image.width) ++num_fast_;
        num_fast_ -= num_fast_ % 2;
    }

    /// Row y of the source, resized to the target's width. Valid until two other rows are
    /// requested.
    const std::int16_t* row(int y) {
        if (held_[0] == y) return rows_[0].data();
        if (held_[1] == y) return rows_[1].data();
        const int slot = held_[0] < held_[1] ? 0 : 1;  // rows come in ascending order
        held_[slot] = y;
        interpolate(y, rows_[slot].data());
        return rows_[slot].data();
    }

private:
    void interpolate(int y, std::int16_t* row) const {
        const std::uint8_t* source = image_.data + y * image_.pitch;
        int done = 0;
#if defined(DBNET_HAS_AVX2_CODE)
        if (cpu_has_avx2()) {
            interpolate_across_avx2(source, taps_.data(), num_fast_, row);
            done = num_fast_;
        }
#endif
        interpolate_across(source, taps_.data(), done, static_cast<int>(taps_.size()), row);
    }

    ImageView image_;
    std::vector<ResizeTap> taps_;
    int num_fast_ = 0;
    std::array<std::vector<std::int16_t>, 2> rows_;
    std::array<int, 2> held_{-1, -1};
};

void blend_rows(const std::int16_t* upper, const std::int16_t* lower, const ResizeTap& tap,
                int width, const PlaneRow& out) {
    int done = 0;
#if defined(DBNET_HAS_AVX2_CODE)
    if (cpu_has_avx2()) {
        done = width - width % 8;
        blend_down_avx2(upper, lower, tap, done, out);
    }
#endif
    blend_down(upper, lower, tap, done, width, out);
}

}  // namespace

void preprocess(const ImageView& image, Size resized, Size padded,
                const Normalization& normalization, float* out) {
    RowCache rows(image, resized.width);
    const std::vector<ResizeTap> taps = make_taps(resized.height, image.height, Axis::kRows);
    const std::size_t plane_size = static_cast<std::size_t>(padded.height) * padded.width;
    PlaneRow target{};
    for (int y = 0; y < resized.height; ++y) {
        for (int c = 0; c < 3; ++c) {  // c: channel of the source
            const int channel = normalization.swap_red_blue ? 2 - c : c;
            target.plane[c] =
                out + channel * plane_size + static_cast<std::size_t>(y) * padded.width;
            target.scale[c] = normalization.scale[channel];
            target.bias[c] = normalization.bias[channel];
        }
        const ResizeTap& tap = taps[y];
        const std::int16_t* upper = rows.row(tap.first);
        blend_rows(upper, rows.row(tap.second), tap, resized.width, target);
        for (float* row : target.plane) std::fill(row + resized.width, row + padded.width, 0.f);
    }
    const std::size_t used = static_cast<std::size_t>(resized.height) * padded.width;
    for (int c = 0; c < 3; ++c) {
        std::fill(out + c * plane_size + used, out + (c + 1) * plane_size, 0.f);
    }
}

}  // namespace dbnet
