// SPDX-License-Identifier: Apache-2.0
//
// The compiled module `_core`. Arguments are checked here, once, before the GIL is released.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>

#include "csrc/bindings_pipeline.hpp"
#include "csrc/cpu_features.hpp"
#include "csrc/postprocess.hpp"
#include "csrc/preprocess.hpp"
#include "csrc/targets.hpp"

namespace py = pybind11;
using namespace pybind11::literals;

namespace dbnet {
namespace {

using FloatArray = py::array_t<float, py::array::c_style>;
using ByteArray = py::array_t<std::uint8_t, py::array::c_style>;

std::string shape_of(const py::array& array) {
    return py::str(py::tuple(array.attr("shape"))).cast<std::string>();
}

void preprocess_image(const py::array_t<std::uint8_t>& image, std::pair<int, int> resized,
                      FloatArray& out, std::array<float, 3> scale, std::array<float, 3> bias,
                      bool swap_red_blue) {
    if (image.ndim() != 3 || image.shape(2) != 3 || image.size() == 0) {
        throw py::value_error("image must be (H, W, 3) uint8 with H, W >= 1, got shape " +
                              shape_of(image));
    }
    if (image.strides(2) != 1 || image.strides(1) != 3) {
        throw py::value_error("image must have contiguous rows; use numpy.ascontiguousarray");
    }
    if (out.ndim() != 3 || out.shape(0) != 3) {
        throw py::value_error("out must be (3, h, w) float32, got shape " + shape_of(out));
    }
    const auto [height, width] = resized;
    if (height < 1 || width < 1 || height > out.shape(1) || width > out.shape(2)) {
        throw py::value_error("resized must lie between (1, 1) and out's size, got (" +
                              std::to_string(height) + ", " + std::to_string(width) +
                              ") for out of shape " + shape_of(out));
    }
    if (std::max(image.shape(0), image.shape(1)) > std::numeric_limits<int>::max() / 4) {
        throw py::value_error("image is too large, got shape " + shape_of(image));
    }
    const ImageView view{image.data(), static_cast<int>(image.shape(0)),
                         static_cast<int>(image.shape(1)), image.strides(0)};
    const Size padded{static_cast<int>(out.shape(1)), static_cast<int>(out.shape(2))};
    float* target = out.mutable_data();  // throws if it is read-only
    py::gil_scoped_release release;
    preprocess(view, {height, width}, padded, {scale, bias, swap_red_blue}, target);
}

// Coordinates are projected onto hull sides in 64-bit integers: products are exact up to this side.
constexpr py::ssize_t kMaxMapSide = 1 << 15;

void check_map_size(py::ssize_t height, py::ssize_t width) {
    if (height > kMaxMapSide || width > kMaxMapSide) {
        throw py::value_error("the sides of a map must be at most " + std::to_string(kMaxMapSide) +
                              " pixels, got " + std::to_string(height) + " x " +
                              std::to_string(width));
    }
}

using Sizes = std::vector<std::pair<int, int>>;

// One view per map, of its top left part of the given size, or of the whole map without sizes.
template <class Value>
std::vector<MapView<Value>> checked_maps(const py::array_t<Value, py::array::c_style>& maps,
                                         const std::optional<Sizes>& sizes) {
    if (maps.ndim() != 3) {
        throw py::value_error("maps must be (B, h, w) float32 or uint8, got shape " +
                              shape_of(maps));
    }
    check_map_size(maps.shape(1), maps.shape(2));
    const int full_height = static_cast<int>(maps.shape(1));
    const int full_width = static_cast<int>(maps.shape(2));
    const std::size_t batch = maps.shape(0);
    if (sizes && sizes->size() != batch) {
        throw py::value_error("there must be one size per map: " + std::to_string(batch) +
                              ", got " + std::to_string(sizes->size()));
    }
    std::vector<MapView<Value>> views;
    for (std::size_t i = 0; i < batch; ++i) {
        const auto [height, width] = sizes ? (*sizes)[i] : std::pair(full_height, full_width);
        if (height < 0 || width < 0 || height > full_height || width > full_width) {
            throw py::value_error("a size must lie within its map, got (" + std::to_string(height) +
                                  ", " + std::to_string(width) + ") for maps of shape " +
                                  shape_of(maps));
        }
        const Value* data = maps.data() + i * full_height * full_width;
        views.push_back({data, height, width, full_width});
    }
    return views;
}

template <class Value>
py::list postprocess_maps(const py::array_t<Value, py::array::c_style>& maps,
                          const PostprocessParams& params, const std::optional<Sizes>& sizes,
                          const std::optional<Sizes>& images) {
    const std::vector<MapView<Value>> views = checked_maps(maps, sizes);
    if (images && images->size() != views.size()) {
        throw py::value_error(
            "there must be one image size per map: " + std::to_string(views.size()) + ", got " +
            std::to_string(images->size()));
    }
    std::vector<std::vector<ScoredQuad>> results;
    {
        py::gil_scoped_release release;
        for (const MapView<Value>& view : views) {
            results.push_back(postprocess(view, params));
            if (!images) continue;
            to_image(results.back(), {view.height, view.width}, (*images)[results.size() - 1]);
        }
    }
    py::list arrays;
    for (const auto& quads : results) arrays.append(to_arrays(quads));
    return arrays;
}

// Box of a component: x_min, y_min, x_max, y_max, the last pixels included.
std::array<std::int32_t, 4> box_of(std::span<const Run> component) {
    int left = component.front().begin, right = 0;
    for (const Run& run : component) {
        left = std::min(left, run.begin);
        right = std::max(right, run.end - 1);
    }
    return {left, component.front().y, right, component.back().y};
}

// Writes the label of each component into its pixels, and its box.
void draw_components(const Components& components, int width, std::int32_t* labels,
                     std::int32_t* boxes) {
    for (std::size_t i = 0; i < components.size(); ++i) {
        for (const Run& run : components[i]) {
            std::int32_t* row = labels + static_cast<std::size_t>(run.y) * width;
            std::fill(row + run.begin, row + run.end, static_cast<std::int32_t>(i + 1));
        }
        for (const int value : box_of(components[i])) *boxes++ = value;
    }
}

py::tuple label_components(const FloatArray& map, float binary_threshold) {
    if (map.ndim() != 2) {
        throw py::value_error("map must be (h, w) float32, got shape " + shape_of(map));
    }
    check_map_size(map.shape(0), map.shape(1));
    const int width = static_cast<int>(map.shape(1));
    const FloatMap view{map.data(), static_cast<int>(map.shape(0)), width, width};
    const Components components = [&] {
        py::gil_scoped_release release;
        return find_components(view, binary_threshold);
    }();
    py::array_t<std::int32_t> labels({map.shape(0), map.shape(1)});
    py::array_t<std::int32_t> boxes({static_cast<py::ssize_t>(components.size()), py::ssize_t{4}});
    std::int32_t* label = labels.mutable_data();
    std::int32_t* box = boxes.mutable_data();
    {
        py::gil_scoped_release release;
        std::fill_n(label, static_cast<std::size_t>(view.height) * view.width, 0);
        draw_components(components, view.width, label, box);
    }
    return py::make_tuple(labels, boxes);
}

template <class Value>
Components find_components_of(const py::array_t<Value, py::array::c_style>& map,
                              float binary_threshold) {
    if (map.ndim() != 2) {
        throw py::value_error("map must be (h, w) float32 or uint8, got shape " + shape_of(map));
    }
    check_map_size(map.shape(0), map.shape(1));
    const int width = static_cast<int>(map.shape(1));
    const MapView<Value> view{map.data(), static_cast<int>(map.shape(0)), width, width};
    const py::gil_scoped_release release;
    if constexpr (std::is_same_v<Value, float>)
        return find_components(view, binary_threshold);
    else
        return find_components(view, byte_threshold(binary_threshold));
}

py::array_t<std::int32_t> boxes_of(const Components& components) {
    py::array_t<std::int32_t> boxes({static_cast<py::ssize_t>(components.size()), py::ssize_t{4}});
    std::int32_t* out = boxes.mutable_data();
    for (std::size_t i = 0; i < components.size(); ++i) {
        for (const int value : box_of(components[i])) *out++ = value;
    }
    return boxes;
}

// The pixels of a component, as 1 within its box.
ByteArray mask_of(const Components& components, std::size_t index) {
    if (index >= components.size()) throw py::index_error("there is no such component");
    const auto [left, top, right, bottom] = box_of(components[index]);
    ByteArray mask({bottom - top + 1, right - left + 1});
    std::uint8_t* pixels = mask.mutable_data();
    std::fill_n(pixels, mask.size(), std::uint8_t{0});
    for (const Run& run : components[index]) {
        std::uint8_t* row = pixels + static_cast<std::ptrdiff_t>(run.y - top) * mask.shape(1);
        std::fill(row + run.begin - left, row + run.end - left, std::uint8_t{1});
    }
    return mask;
}

py::tuple number_components(const py::array_t<std::uint32_t, py::array::c_style>& first_pixels) {
    if (first_pixels.ndim() != 2) {
        throw py::value_error("first_pixels must be (h, w) uint32, got shape " +
                              shape_of(first_pixels));
    }
    const auto width = static_cast<std::uint32_t>(first_pixels.shape(1));
    const auto num_pixels = static_cast<std::uint32_t>(first_pixels.size());
    py::array_t<std::int32_t> labels({first_pixels.shape(0), first_pixels.shape(1)});
    const std::uint32_t* first = first_pixels.data();
    std::int32_t* label = labels.mutable_data();
    std::vector<std::array<std::int32_t, 4>> boxes;
    for (std::uint32_t pixel = 0; pixel < num_pixels; ++pixel) {
        label[pixel] = 0;
        if (first[pixel] == 0 || first[pixel] > pixel + 1) continue;
        const auto x = static_cast<std::int32_t>(pixel % width);
        const auto y = static_cast<std::int32_t>(pixel / width);
        if (first[pixel] == pixel + 1) {
            boxes.push_back({x, y, x, y});
            label[pixel] = static_cast<std::int32_t>(boxes.size());
            continue;
        }
        label[pixel] = label[first[pixel] - 1];
        if (label[pixel] == 0) continue;  // no component starts at this pixel's first pixel
        auto& [x_min, y_min, x_max, y_max] = boxes[label[pixel] - 1];
        x_min = std::min(x_min, x);
        x_max = std::max(x_max, x);
        y_max = y;
    }
    py::array_t<std::int32_t> box_array({static_cast<py::ssize_t>(boxes.size()), py::ssize_t{4}});
    if (!boxes.empty()) std::memcpy(box_array.mutable_data(), boxes.data(), 16 * boxes.size());
    return py::make_tuple(labels, box_array);
}

FloatArray draw_target_maps(const std::vector<py::array_t<double, py::array::c_style>>& polygons,
                            const std::vector<bool>& ignore, std::pair<int, int> size,
                            const TargetParams& params) {
    if (polygons.size() != ignore.size()) {
        throw py::value_error(
            "there must be one ignore flag per polygon: " + std::to_string(polygons.size()) +
            ", got " + std::to_string(ignore.size()));
    }
    std::vector<Outline> outlines;
    for (std::size_t i = 0; i < polygons.size(); ++i) {
        const auto& polygon = polygons[i];
        if (polygon.ndim() != 2 || polygon.shape(0) < 3 || polygon.shape(1) != 2) {
            throw py::value_error("a polygon must be (K, 2) with K >= 3, got shape " +
                                  shape_of(polygon));
        }
        const auto* corners = reinterpret_cast<const Corner*>(polygon.data());
        outlines.push_back({{corners, static_cast<std::size_t>(polygon.shape(0))}, ignore[i]});
    }
    const auto [height, width] = size;
    if (height < 1 || width < 1) {
        throw py::value_error("size must be (height, width) of at least 1, got (" +
                              std::to_string(height) + ", " + std::to_string(width) + ")");
    }
    FloatArray maps({4, height, width});
    const std::size_t pixels = static_cast<std::size_t>(height) * width;
    float* first = maps.mutable_data();
    const TargetMaps targets{first, first + pixels, first + 2 * pixels, first + 3 * pixels};
    {
        py::gil_scoped_release release;
        draw_targets(outlines, {height, width}, params, targets);
    }
    return maps;
}

}  // namespace
}  // namespace dbnet

PYBIND11_MODULE(_core, m) {
    using namespace dbnet;

    m.def("uses_avx2", &cpu_has_avx2);
    m.def("preprocess", &preprocess_image, "image"_a.noconvert(), "resized"_a, "out"_a.noconvert(),
          "scale"_a, "bias"_a, "swap_red_blue"_a = false);

    bind_pipeline(m);  // includes PostprocessParams, which `postprocess` below takes

    m.def("postprocess", &postprocess_maps<float>, "maps"_a.noconvert(), "params"_a,
          "sizes"_a = py::none(), "images"_a = py::none());
    m.def("postprocess", &postprocess_maps<std::uint8_t>, "maps"_a.noconvert(), "params"_a,
          "sizes"_a = py::none(), "images"_a = py::none());
    py::class_<Components>(m, "Components", py::module_local())
        .def(py::init(&find_components_of<float>), "map"_a.noconvert(), "binary_threshold"_a)
        .def(py::init(&find_components_of<std::uint8_t>), "map"_a.noconvert(), "binary_threshold"_a)
        .def_property_readonly("boxes", &boxes_of)
        .def("mask", &mask_of, "index"_a);
    m.def("label_components", &label_components, "map"_a.noconvert(), "binary_threshold"_a);
    m.def("number_components", &number_components, "first_pixels"_a);

    m.def(
        "draw_targets",
        [](const std::vector<py::array_t<double, py::array::c_style>>& polygons,
           const std::vector<bool>& ignore, std::pair<int, int> size, double shrink_ratio,
           double thresh_min, double thresh_max, double border_px) {
            return draw_target_maps(polygons, ignore, size,
                                    {shrink_ratio, thresh_min, thresh_max, border_px});
        },
        "polygons"_a, "ignore"_a, "size"_a, "shrink_ratio"_a, "thresh_min"_a, "thresh_max"_a,
        "border_px"_a);
}
