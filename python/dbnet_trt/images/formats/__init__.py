# SPDX-License-Identifier: Apache-2.0
"""Headers of image files: size, pages, alpha and orientation, without decoding a pixel.

One module per family of formats. Nothing is allocated by what a header claims.
"""
