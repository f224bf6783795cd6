"""The engines that are known, and what runs in their images and is none."""

from __future__ import annotations

import re

from drainproof.model.engine_facts import Drain, EngineFacts, FlagStatus, Metric, Version
from drainproof.model.facts.nim import NIM
from drainproof.model.facts.sglang import SGLANG
from drainproof.model.facts.tgi import TGI
from drainproof.model.facts.triton import TRITON
from drainproof.model.facts.trtllm import TRTLLM
from drainproof.model.facts.vllm import VLLM

__all__ = [
    "BY_NAME",
    "ENGINES",
    "FOREIGN_TAGS",
    "NOT_ENGINES",
    "NOT_ENGINE_IMAGES",
    "Drain",
    "EngineFacts",
    "FlagStatus",
    "Metric",
    "Version",
]

ENGINES: tuple[EngineFacts, ...] = (VLLM, TGI, SGLANG, TRITON, TRTLLM, NIM)
"""In the order in which they are looked for."""

BY_NAME = {facts.name: facts for facts in ENGINES}

NOT_ENGINES = r"""(?x)
      \bvllm\s+(?:bench|chat|complete|collect-env|run-batch)\b
    | vllm[_-]router | vllm\.entrypoints\.(?:\w+\.)*run_batch | production_stack
    | multi-node-serving\.sh\s+worker | \b(?:dynamo|lmcache)\.\w+
    | sglang_router | sglang\.(?:launch_router|bench_\w+) | text-generation-benchmark | genai-perf
    | (?:^|\s|/)(?:sleep|ray|envoy|nginx|curl|wget|huggingface-cli|hf|aws|gsutil|rclone)(?=\s|$)
    | (?:^|\s|/)(?:lmcache|mooncake)_\w+(?=\s|$)
"""
"""Command lines that run in engines' images and are no server: routers, benchmarks, downloads,
caches."""

NOT_ENGINE_IMAGES = re.compile(
    r"router|gateway|scheduler|(?:^|[-_/])epp(?:$|[-_])|proxy|controller|operator|exporter|sidecar"
    r"|benchmark|(?:^|[-_])bench(?:$|[-_])|loadgen|picker|frontend|dashboard|webhook|autoscaler"
    r"|(?:^|[-_])(?:web)?ui(?:$|[-_])|embed|rerank"
)
"""Names of images with an engine's name in them that hold something else."""

FOREIGN_TAGS = re.compile(
    r"(?:^|/)lmcache/|(?:^|/)llm-d|(?:^|/)nvidia/(?:vllm|sglang)|(?:^|/)ai-dynamo/|(?:^|/)rhaii?s/"
)
"""Repositories whose tags count their own releases, not the engine's."""
