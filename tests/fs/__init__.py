# SPDX-License-Identifier: Apache-2.0
"""Tests of real mounts: what people and programs do with files, done on a mounted cluster."""
