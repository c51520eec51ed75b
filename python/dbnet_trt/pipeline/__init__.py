# SPDX-License-Identifier: Apache-2.0
"""Detection pipeline on the CPU or the GPU: preprocessing, network, post-processing."""
