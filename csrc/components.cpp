// SPDX-License-Identifier: Apache-2.0
//
// Connected components in four steps: threshold to one bit per pixel, extract runs from the bits,
// unite the runs of neighbouring rows in a union-find forest, sort the runs by component. Only the
// first step touches every pixel.
#include "csrc/components.hpp"

#include <algorithm>
#include <bit>
#include <type_traits>

#include "csrc/cpu_features.hpp"

namespace dbnet {
namespace {

using Word = std::uint64_t;
constexpr int kWordBits = 64;

// One bit for each of `count` <= 64 pixels, the first in the lowest bit.
template <class Value>
Word binarize_word(const Value* pixels, int count, Value threshold) {
    Word word = 0;
    for (int i = 0; i < count; ++i) word |= static_cast<Word>(pixels[i] > threshold) << i;
    return word;
}

#if defined(DBNET_HAS_AVX2_CODE)
// 32 pixels: comparison masks are narrowed from 32 bits to 8, then all sign bits are extracted at
// once.
DBNET_AVX2 inline Word binarize_half_avx2(const float* pixels, __m256 limit) {
    __m256i above[4];
    for (int i = 0; i < 4; ++i) {
        above[i] =
            _mm256_castps_si256(_mm256_cmp_ps(_mm256_loadu_ps(pixels + 8 * i), limit, _CMP_GT_OQ));
    }
    // Packing works within 128 bits: groups of four come out in the order 0 2 4 6 1 3 5 7.
    const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(above[0], above[1]),
                                              _mm256_packs_epi32(above[2], above[3]));
    const __m256i in_order =
        _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    return static_cast<std::uint32_t>(_mm256_movemask_epi8(in_order));
}

DBNET_AVX2 Word binarize_row_avx2(const float* row, int num_words, float threshold, Word* words) {
    const __m256 limit = _mm256_set1_ps(threshold);
    Word any = 0;
    for (int w = 0; w < num_words; ++w, row += kWordBits) {
        words[w] = binarize_half_avx2(row, limit) | binarize_half_avx2(row + 32, limit) << 32;
        any |= words[w];
    }
    return any;
}
#endif

// Writes one bit per pixel. Returns whether any pixel is foreground.
template <class Value>
bool binarize_row(const Value* row, int width, Value threshold, Word* words) {
    int x = 0;
    Word any = 0;
#if defined(DBNET_HAS_AVX2_CODE)
    if constexpr (std::is_same_v<Value, float>) {
        if (cpu_has_avx2()) {
            any = binarize_row_avx2(row, width / kWordBits, threshold, words);
            x = width - width % kWordBits;
        }
    }
#endif
    for (; x < width; x += kWordBits) {
        const Word word = binarize_word(row + x, std::min(kWordBits, width - x), threshold);
        words[x / kWordBits] = word;
        any |= word;
    }
    return any != 0;
}

// Appends the runs of one row, whose bits beyond `width` are 0. `edges` has room for the places
// where a pixel differs from the one before it: runs begin and end at these in turn.
void append_runs(const std::vector<Word>& words, int y, int width, std::vector<int>& edges,
                 std::vector<Run>& runs) {
    int* edge = edges.data();
    Word last = 0;  // the previous word's last pixel
    for (std::size_t w = 0; w < words.size(); ++w) {
        Word changes = words[w] ^ (words[w] << 1 | last);
        last = words[w] >> (kWordBits - 1);
        for (; changes != 0; changes &= changes - 1) {
            *edge++ = static_cast<int>(w) * kWordBits + std::countr_zero(changes);
        }
    }
    if (last != 0) *edge++ = width;  // only in rows of whole words; otherwise the run ended before
    for (const int* begin = edges.data(); begin != edge; begin += 2) {
        runs.push_back({y, begin[0], begin[1]});
    }
}

/// Union-find over runs. A root is the smallest index of its tree: the run with the component's
/// first pixel.
class Forest {
public:
    void add() { parents_.push_back(static_cast<std::uint32_t>(parents_.size())); }

    std::uint32_t find(std::uint32_t i) {
        while (parents_[i] != i) {
            parents_[i] = parents_[parents_[i]];  // halve the path
            i = parents_[i];
        }
        return i;
    }

    void unite(std::uint32_t a, std::uint32_t b) {
        a = find(a);
        b = find(b);
        if (a < b) {
            parents_[b] = a;
        } else {
            parents_[a] = b;
        }
    }

private:
    std::vector<std::uint32_t> parents_;
};

// Unites the runs [middle, end) of a row with the runs [begin, middle) of the row above where they
// touch, corners included.
void unite_rows(const std::vector<Run>& runs, std::size_t begin, std::size_t middle,
                std::size_t end, Forest& forest) {
    std::size_t above = begin;
    for (std::size_t run = middle; run < end; ++run) {
        while (above < middle && runs[above].end < runs[run].begin) ++above;
        for (std::size_t i = above; i < middle && runs[i].begin <= runs[run].end; ++i) {
            forest.unite(static_cast<std::uint32_t>(run), static_cast<std::uint32_t>(i));
        }
    }
}

Components sort_by_component(const std::vector<Run>& runs, Forest& forest) {
    std::vector<std::uint32_t> component(runs.size());
    std::vector<std::uint32_t> offsets{0};
    for (std::uint32_t i = 0; i < runs.size(); ++i) {
        const std::uint32_t root = forest.find(i);
        if (root == i) {
            component[i] = static_cast<std::uint32_t>(offsets.size()) - 1;
            offsets.push_back(0);
        } else {
            component[i] = component[root];
        }
        ++offsets[component[i] + 1];
    }
    for (std::size_t c = 1; c < offsets.size(); ++c) offsets[c] += offsets[c - 1];
    std::vector<std::uint32_t> next(offsets.begin(), offsets.end() - 1);
    std::vector<Run> sorted(runs.size());
    for (std::size_t i = 0; i < runs.size(); ++i) sorted[next[component[i]]++] = runs[i];
    return {std::move(sorted), std::move(offsets)};
}

template <class Value>
Components find_runs(const MapView<Value>& map, Value threshold) {
    std::vector<Word> words((static_cast<std::size_t>(map.width) + kWordBits - 1) / kWordBits);
    std::vector<int> edges(words.size() * kWordBits + 1);
    std::vector<Run> runs;
    Forest forest;
    std::size_t above = 0, current = 0;  // first runs of the previous row and of this one
    for (int y = 0; y < map.height; ++y) {
        if (binarize_row(map.row(y), map.width, threshold, words.data())) {
            append_runs(words, y, map.width, edges, runs);
        }
        for (std::size_t i = current; i < runs.size(); ++i) forest.add();
        unite_rows(runs, above, current, runs.size(), forest);
        above = current;
        current = runs.size();
    }
    return sort_by_component(runs, forest);
}

}  // namespace

Components find_components(const FloatMap& map, float threshold) {
    return find_runs(map, threshold);
}

Components find_components(const ByteMap& map, std::uint8_t threshold) {
    return find_runs(map, threshold);
}

}  // namespace dbnet
