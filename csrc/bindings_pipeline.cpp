// SPDX-License-Identifier: Apache-2.0
//
// The GPU part of the module. No call waits for the pipeline's lock while it holds the GIL: the
// network callbacks run under that lock and take the GIL.
#include "csrc/bindings_pipeline.hpp"

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "csrc/cuda_status.hpp"
#include "csrc/errors.hpp"
#include "csrc/frame_memory.hpp"
#include "csrc/kernel_calls.hpp"
#include "csrc/pipeline.hpp"

namespace py = pybind11;
using namespace pybind11::literals;

namespace dbnet {
namespace {

using Bytes = py::array_t<std::uint8_t>;
using Colors = std::array<std::int32_t, 6>;  // YuvColors
using Nv12Planes = std::tuple<Bytes, Bytes, Colors>;
// An image on the device: address and pitch of the pixels, of the chroma plane or 0, 0; height,
// width; colours of NV12.
using DeviceAddress =
    std::tuple<std::uintptr_t, std::ptrdiff_t, std::uintptr_t, std::ptrdiff_t, int, int, Colors>;
using ImageAndSize = std::pair<std::variant<Bytes, Nv12Planes, DeviceAddress>, std::pair<int, int>>;

std::uintptr_t address_of(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer); }

// Wraps the methods of a Python object.
NetworkCallbacks to_callbacks(const py::object& network) {
    const auto call = [network](const char* method) {
        return [function = py::object(network.attr(method))](const auto&... arguments) {
            const py::gil_scoped_acquire acquire;
            function(arguments...);
        };
    };
    const auto with_shape = [call](const char* method) {
        return [function = call(method)](const Shape& shape) {
            function(shape.batch, shape.height, shape.width);
        };
    };
    return {with_shape("prepare"),
            [function = call("enqueue")](const void* input, void* output, const Shape& shape,
                                         std::uintptr_t stream) {
                function(address_of(input), address_of(output),
                         std::tuple(shape.batch, shape.height, shape.width), stream);
            },
            with_shape("release"), call("warn")};
}

ImageView to_view(const Bytes& array) {
    return {array.data(), static_cast<int>(array.shape(0)), static_cast<int>(array.shape(1)),
            array.strides(0)};
}

YuvColors to_colors(const Colors& colors) {
    return {colors[0], colors[1], colors[2], colors[3], colors[4], colors[5]};
}

BatchImage to_batch_image(const Bytes& bgr, Size resized) {
    if (bgr.ndim() != 3 || bgr.shape(2) != 3 || bgr.size() == 0 || bgr.strides(2) != 1 ||
        bgr.strides(1) != 3) {
        throw py::value_error("an image must be (H, W, 3) uint8 with contiguous rows");
    }
    return {to_view(bgr), resized, false};
}

BatchImage to_batch_image(const Nv12Planes& planes, Size resized) {
    const auto& [luma, chroma, colors] = planes;
    const auto is_plane = [](const Bytes& array) {
        return array.ndim() == 2 && array.size() > 0 && array.strides(1) == 1;
    };
    if (!is_plane(luma) || !is_plane(chroma) || luma.shape(0) % 2 || luma.shape(1) % 2 ||
        2 * chroma.shape(0) != luma.shape(0) || chroma.shape(1) != luma.shape(1)) {
        throw py::value_error(
            "NV12 must be (H, W) and (H / 2, W) uint8 of even sides with contiguous rows");
    }
    return {to_view(luma), resized, false, chroma.data(), chroma.strides(0), to_colors(colors)};
}

BatchImage to_batch_image(const DeviceAddress& address, Size resized) {
    const auto [pixels, pitch, chroma, chroma_pitch, height, width, colors] = address;
    return {{reinterpret_cast<const std::uint8_t*>(pixels), height, width, pitch},
            resized,
            true,
            reinterpret_cast<const std::uint8_t*>(chroma),
            chroma_pitch,
            to_colors(colors)};
}

std::vector<BatchImage> to_batch_images(const std::vector<ImageAndSize>& items) {
    if (items.empty()) throw py::value_error("a batch must have at least one image");
    std::vector<BatchImage> images;
    for (const auto& [source, size] : items) {
        const Size resized{size.first, size.second};
        images.push_back(
            std::visit([&](const auto& image) { return to_batch_image(image, resized); }, source));
    }
    return images;
}

void check_sizes(const std::vector<BatchImage>& images, Size padded) {
    constexpr int kMaxSide = 1 << 13, kMultiple = 32;
    if (padded.height < 1 || padded.width < 1 || padded.height > kMaxSide ||
        padded.width > kMaxSide || padded.height % kMultiple || padded.width % kMultiple) {
        throw py::value_error(
            "the network's input must have sides that are multiples of 32, 32 to 8192, got (" +
            std::to_string(padded.height) + ", " + std::to_string(padded.width) + ")");
    }
    for (const auto& [view, resized, on_device, chroma, chroma_pitch, colors] : images) {
        if (resized.height < 1 || resized.width < 1 || resized.height > padded.height ||
            resized.width > padded.width) {
            throw py::value_error("an image must be resized to fit the network's input");
        }
    }
}

std::unique_ptr<Pipeline> open_pipeline(const py::object& callbacks, const PipelineConfig& config) {
    return make_pipeline(config, to_callbacks(callbacks));
}

Ticket submit(Pipeline& pipeline, const std::vector<ImageAndSize>& items,
              std::pair<int, int> padded, const PostprocessParams& params, bool wants_maps,
              bool wants_labels, std::vector<std::uintptr_t> streams) {
    const Size size{padded.first, padded.second};
    const std::vector<BatchImage> images = to_batch_images(items);
    check_sizes(images, size);
    const BatchOptions options{params, wants_maps, wants_labels, std::move(streams)};
    const py::gil_scoped_release release;
    return pipeline.submit(images, size, options);
}

std::optional<JoinedMap> join(Pipeline& pipeline, std::pair<int, int> size) {
    if (size.first < 1 || size.second < 1) throw py::value_error("a joined map must have pixels");
    const py::gil_scoped_release release;
    JoinedMap joined = pipeline.join({size.first, size.second});
    return joined.shape ? std::optional(std::move(joined)) : std::nullopt;
}

// y and x in the tile, height and width, y and x in the joined map.
using PartTuple = std::tuple<int, int, int, int, int, int>;

TilePart to_part(const PartTuple& part, Size padded, const JoinedMap& joined) {
    const auto [y, x, height, width, joined_y, joined_x] = part;
    const auto fits = [](int start, int length, int limit) {
        return start >= 0 && length > 0 && length <= limit && start <= limit - length;
    };
    if (!fits(y, height, padded.height) || !fits(x, width, padded.width) ||
        !fits(joined_y, height, joined.size.height) || !fits(joined_x, width, joined.size.width)) {
        throw py::value_error("a part must lie within its tile and within the joined map");
    }
    return {y, x, height, width, joined_y, joined_x};
}

Ticket submit_tiles(Pipeline& pipeline, const std::vector<ImageAndSize>& items,
                    std::pair<int, int> padded, const JoinedMap& joined,
                    const std::vector<PartTuple>& parts, std::vector<std::uintptr_t> streams) {
    const Size size{padded.first, padded.second};
    const std::vector<BatchImage> images = to_batch_images(items);
    check_sizes(images, size);
    if (parts.size() != images.size()) throw py::value_error("each tile must have one part");
    PostprocessParams params{};
    params.binary_threshold = std::numeric_limits<float>::infinity();  // no text in tiles
    BatchOptions options{params, false, false, std::move(streams), joined, {}};
    for (const PartTuple& part : parts) options.parts.push_back(to_part(part, size, joined));
    const py::gil_scoped_release release;
    return pipeline.submit(images, size, options);
}

Ticket submit_joined(Pipeline& pipeline, const JoinedMap& joined, std::pair<int, int> image,
                     const PostprocessParams& params, bool wants_maps, bool wants_labels) {
    const py::gil_scoped_release release;
    return pipeline.submit_joined(joined, {image.first, image.second},
                                  {params, wants_maps, wants_labels, {}});
}

py::tuple collect(Pipeline& pipeline, const Ticket& ticket) {
    const BatchResult* result = nullptr;
    {
        const py::gil_scoped_release release;
        result = &pipeline.collect(ticket);
    }
    py::list texts;
    for (const auto& quads : result->texts) texts.append(to_arrays(quads));
    const auto num_bytes = static_cast<py::ssize_t>(result->maps.size());
    py::array_t<std::uint8_t> maps(num_bytes,
                                   reinterpret_cast<const std::uint8_t*>(result->maps.data()));
    py::array_t<std::uint32_t> labels(static_cast<py::ssize_t>(result->labels.size()),
                                      result->labels.data());
    return py::make_tuple(texts, result->num_dropped, maps, labels);
}

py::dict usage(const Pipeline& pipeline) {
    const PipelineUsage usage = [&] {
        const py::gil_scoped_release release;
        return pipeline.usage();
    }();
    return py::dict("device_bytes"_a = usage.device_bytes, "pinned_bytes"_a = usage.pinned_bytes,
                    "num_shapes"_a = usage.num_shapes, "num_graphs"_a = usage.num_graphs);
}

using ShapeTuple = std::tuple<int, int, int>;
using kernel_calls::Address;

Shape to_shape(const ShapeTuple& shape) {
    return {std::get<0>(shape), std::get<1>(shape), std::get<2>(shape)};
}

void bind_kernels(py::module_ m) {
    using MapsTuple = std::tuple<Address, bool, Address, ShapeTuple>;
    const auto to_maps = [](const MapsTuple& maps) {
        const auto& [values, is_half, sizes, shape] = maps;
        return kernel_calls::Maps{values, is_half, sizes, to_shape(shape)};
    };
    // The layout of struct TextBox in kernels/boxes.hpp.
    py::list fields;
    fields.append(py::make_tuple("quad", "f4", py::make_tuple(4, 2)));
    fields.append(py::make_tuple("score", "f4"));
    fields.append(py::make_tuple("label", "u4"));
    m.attr("TEXT_BOX") = py::dtype::from_args(fields);

    m.def(
        "upload_bytes",
        [](const std::vector<ImageAndSize>& items) {
            return kernel_calls::upload_bytes(to_batch_images(items));
        },
        "images"_a);
    m.def(
        "write_upload",
        [](const std::vector<ImageAndSize>& items, const PostprocessParams& params, Address host,
           Address device) {
            const auto [of_params, images, map_sizes, image_sizes] =
                kernel_calls::write_upload(to_batch_images(items), params, host, device);
            return py::make_tuple(of_params, images, map_sizes, image_sizes);
        },
        "images"_a, "params"_a, "host"_a, "device"_a);
    m.def(
        "preprocess",
        [](Address images, const ShapeTuple& shape, std::array<float, 3> scale,
           std::array<float, 3> bias, bool swap_red_blue, bool out_is_half, Address out,
           Address stream) {
            kernel_calls::preprocess(images, to_shape(shape), {scale, bias, swap_red_blue},
                                     out_is_half, out, stream);
        },
        "images"_a, "shape"_a, "scale"_a, "bias"_a, "swap_red_blue"_a, "out_is_half"_a, "out"_a,
        "stream"_a);
    m.def(
        "workspace_bytes",
        [](const ShapeTuple& shape) { return kernel_calls::workspace_bytes(to_shape(shape)); },
        "shape"_a);
    m.def(
        "find_boxes",
        [=](const MapsTuple& maps, Address image_sizes, Address params, Address workspace,
            Address counts, Address boxes, int capacity, Address stream) {
            kernel_calls::find_boxes(to_maps(maps), image_sizes, params, workspace, counts, boxes,
                                     capacity, stream);
        },
        "maps"_a, "image_sizes"_a, "params"_a, "workspace"_a, "counts"_a, "boxes"_a, "capacity"_a,
        "stream"_a);
    m.def(
        "write_labels",
        [=](const MapsTuple& maps, Address workspace, Address labels, Address stream) {
            kernel_calls::write_labels(to_maps(maps), workspace, labels, stream);
        },
        "maps"_a, "workspace"_a, "labels"_a, "stream"_a);
}

// A frame's copy, whose memory is used again once it is gone.
struct CopiedFrame {
    std::shared_ptr<std::byte> memory;
};

void bind_frame_memory(py::module_& m) {
    using Plane = std::pair<std::uintptr_t, std::ptrdiff_t>;
    py::class_<CopiedFrame>(m, "CopiedFrame", py::module_local())
        .def_property_readonly(
            "address", [](const CopiedFrame& frame) { return address_of(frame.memory.get()); });
    py::class_<FrameMemory>(m, "FrameMemory", py::module_local())
        .def(py::init<int>(), "device"_a)
        .def_property_readonly("stream", &FrameMemory::stream)
        .def(
            "copy",
            [](FrameMemory& memory, const Plane& luma, const Plane& chroma,
               std::pair<int, int> size) {
                const py::gil_scoped_release release;
                return CopiedFrame{memory.copy({luma.first, luma.second},
                                               {chroma.first, chroma.second}, size.first,
                                               size.second)};
            },
            "luma"_a, "chroma"_a, "size"_a);
}

void bind_config(py::module_& m) {
    py::class_<PipelineConfig>(m, "PipelineConfig", py::module_local())
        .def(py::init([](int device, bool input_is_half, bool output_is_half, bool captures,
                         int max_shapes, std::size_t max_bytes, std::array<float, 3> scale,
                         std::array<float, 3> bias, bool swap_red_blue) {
                 return PipelineConfig{
                     .device = device,
                     .input_is_half = input_is_half,
                     .output_is_half = output_is_half,
                     .captures = captures,
                     .max_shapes = max_shapes,
                     .max_bytes = max_bytes,
                     .normalization = {scale, bias, swap_red_blue},
                 };
             }),
             py::kw_only(), "device"_a, "input_is_half"_a, "output_is_half"_a, "captures"_a,
             "max_shapes"_a, "max_bytes"_a, "scale"_a, "bias"_a, "swap_red_blue"_a);
}

}  // namespace

py::tuple to_arrays(const std::vector<ScoredQuad>& texts) {
    static_assert(sizeof(Quad) == 8 * sizeof(float));
    const auto count = static_cast<py::ssize_t>(texts.size());
    py::array_t<float> quads({count, py::ssize_t{4}, py::ssize_t{2}});
    py::array_t<float> scores(count);
    float* quad = quads.mutable_data();
    float* score = scores.mutable_data();
    for (const ScoredQuad& text : texts) {
        std::memcpy(quad, text.quad.data(), sizeof(Quad));
        quad += 8;
        *score++ = text.score;
    }
    return py::make_tuple(quads, scores);
}

void bind_pipeline(py::module_& m) {
    const py::object errors = py::module_::import("dbnet_trt.errors");
    py::register_local_exception<EngineError>(m, "EngineError", errors.attr("EngineError"));

    m.def("cuda_status", [] {
        const CudaStatus status = cuda_status();
        py::list devices;
        for (const CudaDevice& each : status.devices) {
            devices.append(py::make_tuple(each.name, each.major, each.minor, each.num_bytes));
        }
        return py::make_tuple(status.architectures, status.runtime, status.driver, status.failure,
                              devices);
    });
    using Params = PostprocessParams;
    py::class_<Params>(m, "PostprocessParams", py::module_local())
        .def(py::init([](float binary_threshold, float score_threshold, float unclip_ratio,
                         int max_candidates, float min_side, bool logits) {
                 return Params{
                     .binary_threshold = binary_threshold,
                     .score_threshold = score_threshold,
                     .unclip_ratio = unclip_ratio,
                     .max_candidates = max_candidates,
                     .min_side = min_side,
                     .logits = logits,
                 };
             }),
             py::kw_only(), "binary_threshold"_a, "score_threshold"_a, "unclip_ratio"_a,
             "max_candidates"_a, "min_side"_a, "logits"_a)
        .def_readwrite("binary_threshold", &Params::binary_threshold)
        .def_readwrite("score_threshold", &Params::score_threshold)
        .def_readwrite("unclip_ratio", &Params::unclip_ratio)
        .def_readwrite("max_candidates", &Params::max_candidates)
        .def_readwrite("min_side", &Params::min_side)
        .def_readwrite("logits", &Params::logits);
    bind_kernels(m.def_submodule("kernels"));

    bind_config(m);
    bind_frame_memory(m);
    py::class_<Ticket>(m, "Ticket", py::module_local());
    py::class_<JoinedMap>(m, "JoinedMap", py::module_local());
    py::class_<Pipeline>(m, "Pipeline", py::module_local())
        .def(py::init(&open_pipeline), "callbacks"_a, "config"_a)
        .def("submit", &submit, "images"_a, "padded"_a, "params"_a, "wants_maps"_a,
             "wants_labels"_a, "streams"_a)
        .def("join", &join, "size"_a)
        .def("submit_tiles", &submit_tiles, "images"_a, "padded"_a, "joined"_a, "parts"_a,
             "streams"_a)
        .def("submit_joined", &submit_joined, "joined"_a, "image"_a, "params"_a, "wants_maps"_a,
             "wants_labels"_a)
        .def("collect", &collect, "ticket"_a)
        .def("usage", &usage)
        .def_property_readonly("import_stream", &Pipeline::import_stream);
}

}  // namespace dbnet
