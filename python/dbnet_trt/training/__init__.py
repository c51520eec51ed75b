# SPDX-License-Identifier: Apache-2.0
"""Training of DB detectors. All but data sets needs torch; nothing of the runtime imports this."""
