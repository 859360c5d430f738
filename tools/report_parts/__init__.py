# SPDX-License-Identifier: Apache-2.0
"""The parts of tools/report: history (reading), figures (pictures), page (HTML), command."""
