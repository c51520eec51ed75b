// SPDX-License-Identifier: Apache-2.0
//
// The pipeline and the kernel calls of a build without CUDA: they throw.
#include "csrc/cuda_status.hpp"
#include "csrc/errors.hpp"
#include "csrc/frame_memory.hpp"
#include "csrc/kernel_calls.hpp"
#include "csrc/pipeline.hpp"

namespace dbnet {

CudaStatus cuda_status() { return {}; }

namespace {

[[noreturn]] void refuse() {
    throw EngineError(
        "this build has no CUDA code; install the CUDA toolkit (nvcc) and run "
        "`DBNET_TRT_CUDA=ON pip install .`, or use device=\"cpu\"");
}

}  // namespace

std::unique_ptr<Pipeline> make_pipeline(const PipelineConfig&, NetworkCallbacks) { refuse(); }

FrameMemory::FrameMemory(int) { refuse(); }
std::uintptr_t FrameMemory::stream() const { refuse(); }
std::shared_ptr<std::byte> FrameMemory::copy(const FramePlane&, const FramePlane&, int, int) {
    refuse();
}

namespace kernel_calls {

std::size_t upload_bytes(std::span<const BatchImage>) { refuse(); }
UploadAddresses write_upload(std::span<const BatchImage>, const PostprocessParams&, Address,
                             Address) {
    refuse();
}
void preprocess(Address, const Shape&, const Normalization&, bool, Address, Address) { refuse(); }
std::size_t workspace_bytes(const Shape&) { refuse(); }
void find_boxes(const Maps&, Address, Address, Address, Address, Address, int, Address) {
    refuse();
}
void write_labels(const Maps&, Address, Address, Address) { refuse(); }

}  // namespace kernel_calls

}  // namespace dbnet
