"""Runs a script with DeepSpeed in processes without a GPU: `deepspeed_on_cpu.py SCRIPT FLAGS...`.

accelerate joins processes under DeepSpeed only where it finds an accelerator, so it is told of the
backend of CPUs; and nothing is compiled. All else is as on GPUs.
"""

from __future__ import annotations

import os
import runpy
import sys

os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"

import deepspeed
from accelerate import DistributedType, PartialState

PartialState._prepare_backend = lambda *_: ("gloo", DistributedType.MULTI_GPU)
deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False

sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
