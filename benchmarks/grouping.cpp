// SPDX-License-Identifier: Apache-2.0
//
// How other detectors group pixels into texts, for benchmarks/grouping.py: plain and serial, as
// DB's core is, with no instruction set chosen by hand.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace {

constexpr int kChannels = 8;
constexpr float kThreshold = 0.5f;

/// Label the 4-connected components of a mask from 1 on, and return their number.
int label_components(const std::uint8_t* mask, int height, int width, std::int32_t* labels) {
    std::fill_n(labels, height * width, 0);
    std::vector<int> queue;
    int count = 0;
    for (int start = 0; start < height * width; ++start) {
        if (!mask[start] || labels[start]) continue;
        labels[start] = ++count;
        queue.assign(1, start);
        for (std::size_t next = 0; next < queue.size(); ++next) {
            const int pixel = queue[next], x = pixel % width;
            const std::array<int, 4> neighbours = {pixel - width, pixel + width,
                                                   x > 0 ? pixel - 1 : -1,
                                                   x + 1 < width ? pixel + 1 : -1};
            for (const int other : neighbours) {
                if (other < 0 || other >= height * width || !mask[other] || labels[other]) continue;
                labels[other] = count;
                queue.push_back(other);
            }
        }
    }
    return count;
}

void threshold(const float* map, int size, std::vector<std::uint8_t>& mask) {
    mask.resize(size);
    for (int i = 0; i < size; ++i) mask[i] = map[i] > kThreshold;
}

}  // namespace

extern "C" {

/// Progressive scale expansion (PSENet): the components of the smallest kernels grow, breadth
/// first, into each larger map in turn; a pixel belongs to the text that reaches it first.
///
/// maps: (num_maps, height, width), probabilities of the shrunk texts, the most shrunk first.
int expand_scales(const float* maps, int num_maps, int height, int width, std::int32_t* labels) {
    const int size = height * width;
    std::vector<std::uint8_t> mask;
    threshold(maps, size, mask);
    const int count = label_components(mask.data(), height, width, labels);
    std::vector<int> queue, border;
    for (int i = 0; i < size; ++i) {
        if (labels[i]) queue.push_back(i);
    }
    for (int map = 1; map < num_maps; ++map) {
        threshold(maps + std::size_t(map) * size, size, mask);
        border.clear();
        for (std::size_t next = 0; next < queue.size(); ++next) {
            const int pixel = queue[next], x = pixel % width;
            const std::array<int, 4> neighbours = {pixel - width, pixel + width,
                                                   x > 0 ? pixel - 1 : -1,
                                                   x + 1 < width ? pixel + 1 : -1};
            bool grew_all_around = true;
            for (const int other : neighbours) {
                if (other < 0 || other >= size || labels[other]) continue;
                if (mask[other]) {
                    labels[other] = labels[pixel];
                    queue.push_back(other);
                } else {
                    grew_all_around = false;
                }
            }
            if (!grew_all_around) border.push_back(pixel);
        }
        queue.swap(border);
    }
    return count;
}

/// Grouping by pixel embeddings (Tian et al. 2019): the components of the centres have a mean
/// embedding each, and a pixel of text belongs to the nearest of these within a distance.
///
/// text, centres: (height, width) probabilities; embedding: (height, width, 8).
int group_embeddings(const float* text, const float* centres, const float* embedding, int height,
                     int width, float max_distance, std::int32_t* labels) {
    const int size = height * width;
    std::vector<std::uint8_t> mask;
    threshold(centres, size, mask);
    const int count = label_components(mask.data(), height, width, labels);
    std::vector<std::array<float, kChannels>> means(count);
    std::vector<int> areas(count);
    for (int i = 0; i < size; ++i) {
        if (labels[i] == 0) continue;
        ++areas[labels[i] - 1];
        for (int c = 0; c < kChannels; ++c) means[labels[i] - 1][c] += embedding[i * kChannels + c];
    }
    for (int label = 0; label < count; ++label) {
        for (float& value : means[label]) value /= areas[label];
    }
    for (int i = 0; i < size; ++i) {
        if (labels[i] != 0 || !(text[i] > kThreshold)) continue;
        float nearest = max_distance * max_distance;
        for (int label = 0; label < count; ++label) {
            float distance = 0;
            for (int c = 0; c < kChannels; ++c) {
                const float difference = embedding[i * kChannels + c] - means[label][c];
                distance += difference * difference;
            }
            if (distance < nearest) {
                nearest = distance;
                labels[i] = label + 1;
            }
        }
    }
    return count;
}
}
