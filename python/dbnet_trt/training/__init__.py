# SPDX-License-Identifier: Apache-2.0
"""Training of DB detectors. Needs torch; nothing of the runtime imports this."""
