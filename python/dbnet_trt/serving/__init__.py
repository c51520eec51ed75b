# SPDX-License-Identifier: Apache-2.0
"""HTTP server: a page, REST, the open inference protocol, metrics."""
