# SPDX-License-Identifier: MIT
"""The parts of scripts/bench. Python's standard library only."""
