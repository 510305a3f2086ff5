# SPDX-License-Identifier: Apache-2.0
"""What tests of whole processes stand on: nodes, mounts, networks, waiting, and cleaning up.

Each module is one idea. Whatever a test starts here ends with the test: by a fixture's finalizer,
else (a crash of pytest) by the death signal, else by sweep.
"""
