// SPDX-License-Identifier: Apache-2.0
//
// A fake CUDA runtime on the host, as far as the pipeline uses it: memory, streams, events, graphs.
// Work waits in its stream until a call synchronises; with a seed it may also run at any other
// call. Streams then run in a random order that only events restrict, so that missing
// synchronisation fails here as on a GPU, only more often. Calls can be made to fail.
#pragma once

#include <cstddef>
#include <functional>

using cudaError_t = int;
constexpr cudaError_t cudaSuccess = 0, cudaErrorMemoryAllocation = 2, cudaErrorInvalidValue = 1,
                      cudaErrorInsufficientDriver = 35, cudaErrorNoDevice = 100,
                      cudaErrorNoKernelImageForDevice = 209, cudaErrorUnsupportedPtxVersion = 222,
                      cudaErrorECCUncorrectable = 214, cudaErrorIllegalAddress = 700,
                      cudaErrorLaunchFailure = 719, cudaErrorStreamCaptureUnsupported = 900,
                      cudaErrorStreamCaptureInvalidated = 901, cudaErrorUnknown = 999;

namespace emulator {
struct FakeStream;
struct FakeEvent;
struct FakeGraph;

/// Add work to a stream, or to the graph that it is capturing. Without a stream, run it at once.
void enqueue(FakeStream* stream, std::function<void()> work);
}  // namespace emulator

using cudaStream_t = emulator::FakeStream*;
using cudaEvent_t = emulator::FakeEvent*;
using cudaGraph_t = emulator::FakeGraph*;
using cudaGraphExec_t = emulator::FakeGraph*;

#define CUDART_VERSION 12090
struct cudaDeviceProp {
    char name[256];
    int major, minor;
    std::size_t totalGlobalMem;
};
enum cudaMemcpyKind { cudaMemcpyDefault };
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal };
constexpr unsigned long long cudaEnableDefault = 0;
constexpr unsigned cudaStreamNonBlocking = 1, cudaEventDisableTiming = 2, cudaHostAllocDefault = 0;

const char* cudaGetErrorString(cudaError_t code);
cudaError_t cudaGetLastError();
cudaError_t cudaDriverGetVersion(int* version);
cudaError_t cudaGetDeviceCount(int* count);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDriverEntryPoint(const char* name, void** function, unsigned long long flags);
cudaError_t cudaMemGetInfo(std::size_t* num_free, std::size_t* total);
cudaError_t cudaMalloc(void** memory, std::size_t num_bytes);
cudaError_t cudaFree(void* memory);
cudaError_t cudaHostAlloc(void** memory, std::size_t num_bytes, unsigned flags);
cudaError_t cudaFreeHost(void* memory);
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t num_bytes, cudaMemcpyKind,
                            cudaStream_t stream);
cudaError_t cudaMemcpy2DAsync(void* to, std::size_t to_pitch, const void* from,
                              std::size_t from_pitch, std::size_t row_bytes, std::size_t num_rows,
                              cudaMemcpyKind, cudaStream_t stream);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags = 0);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* exec, cudaGraph_t graph,
                                          unsigned long long flags);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
