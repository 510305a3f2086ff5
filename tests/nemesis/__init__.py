# SPDX-License-Identifier: Apache-2.0
"""Clusters of real processes under faults and load, and what is judged afterwards. See __main__.py."""
