# Makes the modules of perf/lib importable.
# SPDX-License-Identifier: GPL-3.0-or-later
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "perf" / "lib"))
