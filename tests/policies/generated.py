"""Workloads made up by Hypothesis: engines and what is beside them, set up well and badly."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

Drawn = st.SearchStrategy[Any]

_REPOSITORIES = (
    "vllm/vllm-openai",
    "nvcr.io/nim/meta/llama-3.1-8b-instruct",
    "ghcr.io/huggingface/text-generation-inference",
    "registry.local:5000/mirror/vllm",
    "lmsysorg/sglang",
    "nvcr.io/nvidia/tritonserver",
    "nvcr.io/nvidia/tensorrt-llm/release",
    "ghcr.io/llm-d/llm-d-cuda",
    "vllm-router",
    "lmcache/vllm-openai",
    "busybox",
    "team/model-server",
    "localhost/tgi",
)
_ENGINES = (
    "vllm/vllm-openai",
    "lmsysorg/sglang",
    "ghcr.io/huggingface/text-generation-inference",
)
"""What most checks have most to say of."""
_TAGS = (
    *(
        "",
        ":latest",
        ":v0.32.0",
        ":v0.9.2",
        ":v0.7.3",
        ":0.5.1",
        ":3.3.4",
        ":2.4",
        ":24.08-py3",
        ":v0",
        ":main",
    ),
    *(
        ":sha-1a2b3c4",
        ":nightly-20260101",
        ":v0.17.1",
        ":3.2.1",
        ":1.3",
        ":v0.5.0-nightly",
        ":b1234",
    ),
    *("@sha256:" + "a" * 64, ":v0.32.0@sha256:" + "b" * 64, ":cuda12.4.1", ":dev", ":deadbeef"),
)
_PROGRAMS: tuple[list[str], ...] = (
    ["vllm", "serve", "meta-llama/Llama-3.1-8B"],
    ["vllm", "serve", "Qwen/Qwen2.5-7B-Instruct"],
    ["/usr/bin/python3", "-m", "vllm.entrypoints.openai.api_server"],
    ["python3", "-m", "sglang.launch_server"],
    ["text-generation-launcher"],
    ["tritonserver"],
    ["trtllm-serve", "serve", "m"],
    ["mpirun", "-n", "2", "python3", "launch_triton_server.py"],
    ["sleep", "infinity"],
    ["vllm", "bench", "serve"],
    ["vllm-router", "--port", "80"],
    ["./start"],
)
_SCRIPTS = (
    "exec vllm serve m --port 8001",
    "vllm serve m \\\n  --tensor-parallel-size 2 --shutdown-timeout=60\n",
    "set -e; sleep 1; exec python3 -m sglang.launch_server --tp 4",
    'vllm serve "$MODEL"',
    "vllm serve m | tee log",
    "if true; then vllm serve m; fi",
    "echo vllm serve m",
    "cd /x && text-generation-launcher --port 3000",
    "sleep infinity",
    "MODEL=m vllm serve m",
    "vllm serve m",
    "eval vllm serve m",
    "eval exec vllm serve m",
    "export A; exec vllm serve m; exit",
    "trap true TERM; vllm serve m",
    "which vllm serve m; python3 -m sglang.launch_server",
)
_FLAGS: tuple[list[str], ...] = (
    ["--port", "8001"],
    ["--port=http"],
    ["--shutdown-timeout=120"],
    ["--shutdown_timeout", "60"],
    ["--shutdown-timeout", "-1"],
    ["--graceful-termination-timeout", "150"],
    ["--exit-timeout-secs=200"],
    ["--headless"],
    ["--no-headless"],
    ["--api-key=sk-abc"],
    ["--api-key=sk-proj-Ab1Cd2Ef3Gh4Ij5Kl6Mn7"],
    ["--header", "Authorization: Bearer Ab1Cd2Ef3Gh4Ij5"],
    ["--header=AKIAABCDEFGH12345678,AKIAABCDEFGH1234567"],
    ["--note=sk-this-is-only-a-long-name-of-nothing"],
    ["--api-key", "$(VLLM_API_KEY)"],
    ["--api-key"],
    ["--ssl-certfile=/tls/crt"],
    ["--device=cpu"],
    ["--config=/etc/vllm.yaml"],
    ["--config", "/etc/vllm.yaml"],
    ["--metrics-port=9090"],
    ["--grpc-port", "9001"],
    ["--root-path=/llm"],
    ["--shutdown-timeout=0"],
    ["-p", "8080"],
    ["$(EXTRA_ARGS)"],
    ["$(SEED)"],
)
_SPREADING: tuple[list[str], ...] = (
    ["--tensor-parallel-size=2"],
    ["--tp", "4"],
    ["--num-shard", "2"],
    ["-pp", "2"],
    ["--pipeline-parallel-size=two"],
    ["--nnodes=2"],
    ["--data-parallel-size", "4"],
    ["--dp-size=2"],
    ["--enable-dp-attention"],
    ["-dpl", "1"],
    ["--data-parallel-rank=0"],
    ["--distributed-executor-backend=ray"],
    ["--world_size=4"],
    ["--sharded", "false"],
    ["--node-rank", "1"],
    ["--tensor-parallel-size=4"],
    ["--tp-size", "2"],
    ["--tp_size=2"],
    ["--tensor-parallel-size", "8"],
    ["-tp=4"],
)
_BATCHES: tuple[list[str], ...] = (
    ["--max-num-seqs=64"],
    ["--max-num-seqs", "4"],
    ["--max-num-seqs=0"],
    ["--max-num-seqs", "many"],
    ["--max-num-batched-tokens=2048"],
    ["--max-num-batched-tokens", "32"],
    ["--max-concurrent-requests=4"],
    ["--runner", "pooling"],
    ["--task=embed"],
)
_MEMORY: tuple[list[str], ...] = (
    ["--cpu-offload-gb=10"],
    ["--cpu-offload-gb", "some"],
    ["--swap-space=16"],
    ["--kv-offloading-size", "20"],
    ["--hicache-size=30"],
    ['--kv-transfer-config={"kv_connector_extra_config": {"cpu_bytes_to_use": 42949672960}}'],
    ["--kv-cache-memory-bytes=20G"],
    ["--load-format", "dummy"],
    ["--dtype=float32"],
    ["--gpu-memory-utilization=0.9"],
    ["--gpu-memory-utilization=0.5"],
    ["--gpu_memory_utilization", "0.97"],
    ["--gpu-memory-utilization=1.5"],
    ["--gpu-memory-utilization", "90%"],
    ["--gpu-memory-utilization=$(SHARE)"],
    ["--gpu-memory-utilization", "-1"],
    ["--mem-fraction-static", "0.6"],
    ["--mem-fraction-static=0.8"],
    ["--cuda-memory-fraction=0.8"],
    ["--kv_cache_free_gpu_memory_fraction", "0.99"],
    ["--kv-cache-memory-bytes=1G"],
)
_MODELS: tuple[list[str], ...] = (
    ["--quantization=awq"],
    ["-q", "gptq_marlin"],
    ["--quantization", "fp8"],
    ["--quantize=bitsandbytes"],
    ["--model=RedHatAI/Llama-3.1-70B-Instruct-quantized.w8a8"],
    ["--model=team/Llama-3.1-70B-FP8"],
    ["--model=meta-llama/Llama-3.1-70B-Instruct"],
    ["--model=Qwen/Qwen2.5-72B-Instruct-AWQ"],
    ["--model", "mistralai/Mixtral-8x7B-Instruct-v0.1"],
    ["--model=Qwen/Qwen2.5-0.5B-to-7B"],
    ["--model", "/models/llama-8b"],
    ["--model=team/opt-350m-gptq/"],
    ["--max-model-len", "8192"],
    ["--max-model-len=131072"],
    ["--max-model-len", "128K"],
    ["--max-model-len=200k"],
    ["--max-model-len", "auto"],
    ["--context-length=40960"],
    ["--context-length", "1e6"],
    ["--max_seq_len=4096"],
    ["--rope-scaling", "{}"],
    ["--model=meta-llama/Llama-3.1-8B-Instruct"],
    ["--model", "Qwen/Qwen2.5-7B-Instruct-1M"],
    ["--model=Qwen/Qwen3_8B"],
    ["--model-path", "meta-llama/Llama-2-7b"],
    ["--model=$(MODEL)"],
    ["--quantize=gptq"],
    ["--model=meta-llama/Llama-3.1-8B-Instruct", "--quantization=awq"],
    ["--model-path=team/llama-3-8b-awq", "--quantization", "gptq"],
    ["--model-id=meta-llama/Llama-3.1-8B-Instruct", "--quantize=gptq"],
)
_SWITCHES: tuple[list[str], ...] = (
    ["--no-enable-chunked-prefill"],
    ["--enforce-eager"],
    ["--no-enforce-eager"],
    ["--enforce-eager=false"],
    ["-O0"],
    ["-O", "0"],
    ["--compilation-config", '{"cudagraph_mode": "NONE"}'],
    ['--compilation-config={"level": 3}'],
    ["--disable-cuda-graph"],
    ["--cuda-graphs", "0"],
    ["--cuda-graphs=1,2"],
    ["--kv-transfer-config", '{"kv_role": "kv_producer"}'],
    ["--disaggregation-mode=prefill"],
    ["--no-enable-prefix-caching"],
    ["--enable-prefix-caching=False"],
    ["--enable-chunked-prefill"],
    ["--disable-radix-cache"],
    ["--chunked-prefill-size", "-1"],
    ["--chunked-prefill-size=4096"],
)
_HOOKS: tuple[dict[str, Any], ...] = (
    {"sleep": {"seconds": 15}},
    {"sleep": {"seconds": 3}},
    {"sleep": {"seconds": 400}},
    {"sleep": {}},
    {"exec": {"command": ["sleep", "15"]}},
    {"exec": {"command": ["/bin/sleep", "1m"]}},
    {"exec": {"command": ["sleep", "0.5", "10"]}},
    {"exec": {"command": ["sleep", "x"]}},
    {"exec": {"command": ["sleep 15"]}},
    {"exec": {"command": []}},
    {"exec": {"command": ["sh", "-c", "sleep 20"]}},
    {"exec": {"command": ["/bin/sh", "-ec", "echo bye; sleep 5 && sleep 6s"]}},
    {"exec": {"command": ["sh", "-c", "sleep 20; pkill vllm"]}},
    {"exec": {"command": ["sh", "-c", "while true; do sleep 1; done"]}},
    {"exec": {"command": ["sh", "-c", "./drain"]}},
    {"exec": {"command": ["sh", "-c", "true"]}},
    {"exec": {"command": ["/drain"]}},
    {"exec": {"command": ["true"]}},
    {"exec": {"command": ["sleep", "$(DELAY)"]}},
    {"httpGet": {"path": "/health", "port": 8000}},
    {"httpGet": {"path": "/drain", "port": 8000}},
    {"httpGet": {"port": 8000}},
    {"tcpSocket": {"port": 8000}},
)
_PROBES: tuple[dict[str, Any], ...] = (
    {"httpGet": {"path": "/health", "port": 8000}},
    {"httpGet": {"path": "/health/", "port": "http"}},
    {"httpGet": {"path": "health?x=1", "port": 8001}},
    {"httpGet": {"path": "/v1/models", "port": 8000, "scheme": "HTTPS"}},
    {"httpGet": {"path": "/", "port": 80}},
    {"httpGet": {"port": 30000}},
    {"httpGet": {"path": "/v2/health/ready", "port": 8000}},
    {"httpGet": {"path": "/health"}},
    {"exec": {"command": ["curl", "localhost:8000/health"]}},
    {"tcpSocket": {"port": 8000}},
    {"grpc": {"port": 8001}},
    {"periodSeconds": 5},
    {"httpGet": {"path": "/health_generate", "port": 30000}, "initialDelaySeconds": 120},
    {"httpGet": {"path": "/metrics/", "port": 8002}, "failureThreshold": 60, "periodSeconds": 10},
    {"httpGet": {"path": "/ping", "port": 8000}, "failureThreshold": 20, "periodSeconds": 10},
    {"httpGet": {"path": "/nowhere", "port": "grpc"}, "periodSeconds": 0},
    {"tcpSocket": {"port": 8001}, "initialDelaySeconds": 300, "failureThreshold": 1},
)
_ENV: tuple[dict[str, Any], ...] = (
    {"name": "HF_TOKEN", "value": "hf_abc"},
    {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    {"name": "NGC_API_KEY", "valueFrom": {"configMapKeyRef": {"name": "s", "key": "k"}}},
    {"name": "VLLM_API_KEY", "value": ""},
    {"name": "DB_PASSWORD", "value": "/run/secrets/db"},
    {"name": "AUTH_TOKEN", "value": "$(HF_TOKEN)"},
    {"name": "MAX_TOKENS", "value": "4096"},
    {"name": "VLLM_MAX_TOKEN", "value": "512"},
    {"name": "PORT", "value": "8080"},
    {"name": "NUM_SHARD", "value": "2"},
    {"name": "NIM_SERVER_PORT", "value": "8001"},
    {"name": "SGL_FORCE_SHUTDOWN", "value": "true"},
    {"name": "GRACEFUL_TERMINATION_TIMEOUT", "value": "200"},
    {"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"},
    {"name": "VLLM_TARGET_DEVICE", "value": "cpu"},
    {"name": "VLLM_CPU_KVCACHE_SPACE", "value": "4"},
    {"name": "LMCACHE_MAX_LOCAL_CPU_SIZE", "value": "20"},
    {"name": "LMCACHE_LOCAL_CPU", "value": "False"},
    {"name": "VLLM_ADDITIONAL_ARGS", "value": "--port 9000"},
    {"name": "DELAY", "value": "20"},
    {"name": "QUANTIZE", "value": "awq"},
    {"name": "MODEL_ID", "value": "meta-llama/Llama-3.1-70B-Instruct"},
    {"name": "VLLM_USE_V1", "value": "0"},
    {"name": "PREFIX_CACHING", "value": "false"},
    {"name": "USE_PREFIX_CACHING", "value": "1"},
    {"name": "NOTE", "value": "see hf_Ab1Cd2Ef3Gh4Ij5Kl6Mn7"},
    {"name": "MASK", "value": "hf_xxxxxxxxxxxxxxxxxxxxxxxx"},
    {"name": "PROXY", "value": "http://me:s3cretWord@proxy.example.org:3128"},
    {"name": "PULLED", "value": "me:pa55word!@registry.local:5000/vllm"},
    {"name": "VLLM_ALLOW_LONG_MAX_MODEL_LEN", "value": "1"},
    {"name": "CUDA_GRAPHS", "value": "0"},
    {"name": "CUDA_MEMORY_FRACTION", "value": "0.5"},
    {"name": "MAX_CONCURRENT_REQUESTS", "value": "4"},
)
_GPUS: tuple[dict[str, Any], ...] = (
    {"nvidia.com/gpu": 1, "memory": "16Gi"},
    {"nvidia.com/gpu": 2, "memory": "32Gi"},
    {"nvidia.com/mig-3g.40gb": 1},
)
_AMOUNTS: tuple[dict[str, Any], ...] = (
    {"nvidia.com/gpu": 1},
    {"nvidia.com/gpu": "2"},
    {"nvidia.com/gpu": 0},
    {"nvidia.com/gpu": "500m"},
    {"nvidia.com/mig-1g.10gb": 1},
    {"google.com/tpu": 1},
    {"aws.amazon.com/neuron": 1},
    {"aws.amazon.com/neuroncore": 2},
    {"amd.com/gpu": 4, "memory": "64Gi"},
    {"gpu.intel.com/i915": 1},
    {"nvidia.com/gpumem": 40},
    {"memory": "8Gi"},
    {"memory": "4Gi", "cpu": "2"},
    {"memory": "16Gi"},
    {"nvidia.com/gpu": 1, "memory": "20G"},
    {"rdma/hca": 1},
)


def _some(values: tuple[Any, ...], *, least: int = 0, most: int = 3) -> Drawn:
    return st.lists(st.sampled_from(values), min_size=least, max_size=most)


def _maybe(strategy: Drawn) -> Drawn:
    """Return what leaves a field out half the time."""
    return st.one_of(st.none(), strategy)


def _fields(**strategies: Drawn) -> Drawn:
    """Return mappings of these fields, each of which may be left out."""
    return st.fixed_dictionaries({}, optional=strategies)


def _probes() -> Drawn:
    """Return probes, some of which say how long they wait."""
    waits = _fields(timeoutSeconds=st.sampled_from((0, 1, 2, 5, 15)))
    return st.tuples(st.sampled_from(_PROBES), waits).map(lambda both: both[0] | both[1])


@st.composite
def containers(draw: st.DrawFn, name: str = "engine") -> dict[str, Any]:
    """Draw a container: an engine's, a proxy's, anybody's."""
    found: dict[str, Any] = {
        "name": name,
        "image": draw(st.sampled_from(_ENGINES) | st.sampled_from(_REPOSITORIES))
        + draw(st.sampled_from(_TAGS)),
    }
    about = draw(st.sampled_from((_SPREADING, _BATCHES, _MEMORY, _MODELS, _SWITCHES)))
    chosen = draw(_some(_FLAGS)) + draw(_some(about, least=1, most=4))
    flags = [word for flag in chosen for word in flag]
    how = draw(st.sampled_from(("args", "args", "args", "command", "script", "bare")))
    if how == "args":
        found["args"] = flags
    elif how == "command":
        found["command"] = draw(st.sampled_from(_PROGRAMS))
        found["args"] = flags
    elif how == "script":
        shell = draw(st.sampled_from((["sh", "-c"], ["/bin/bash", "-lc"], ["bash"])))
        found["command"] = [*shell, draw(st.sampled_from(_SCRIPTS))]
    limits = st.sampled_from(_GPUS) | st.sampled_from(_AMOUNTS)
    more = {
        "requests": st.sampled_from(_AMOUNTS),
        "claims": st.sampled_from(([], [{"name": "gpu"}])),
    }
    found |= draw(
        _fields(
            resources=st.fixed_dictionaries({"limits": limits}, optional=more) | _fields(**more),
            env=st.lists(
                st.sampled_from(_ENV), max_size=3, unique_by=lambda item: str(item["name"])
            ),
            ports=st.lists(
                st.sampled_from(({"containerPort": 8000, "name": "http"}, {"containerPort": 8001})),
                max_size=2,
                unique_by=lambda item: int(str(item["containerPort"])),
            ),
            readinessProbe=_probes(),
            livenessProbe=_probes(),
            startupProbe=_probes(),
            lifecycle=_fields(
                preStop=st.sampled_from(_HOOKS),
                stopSignal=st.sampled_from(("SIGTERM", "SIGINT", "SIGUSR1")),
            ),
            volumeMounts=st.lists(
                st.sampled_from(
                    (
                        {"name": "dshm", "mountPath": "/dev/shm"},
                        {"name": "dshm", "mountPath": "/dev/shm/"},
                        {"name": "cache", "mountPath": "/cache"},
                    )
                ),
                max_size=2,
            ),
        )
    )
    return found


_SELECTORS: tuple[dict[str, str], ...] = (
    {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
    {"cloud.google.com/gke-accelerator": "nvidia-l4"},
    {"pool": "gpu"},
)
_SELECTED: tuple[dict[str, Any], ...] = (
    {"key": "nvidia.com/gpu.product", "operator": "In", "values": ["NVIDIA-L40S", "Tesla-T4"]},
    {"key": "nvidia.com/gpu.product", "operator": "In", "values": ["NVIDIA-Unknown"]},
    {"key": "nvidia.com/gpu.product", "operator": "NotIn", "values": ["Tesla-T4"]},
)


def _nodes(asked: list[dict[str, Any]]) -> dict[str, Any]:
    """Return an affinity to nodes that meet one of some requirements."""
    terms = [{"matchExpressions": [one]} for one in asked]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return {"nodeAffinity": required}


@st.composite
def pods(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a pod template."""
    found = [draw(containers())]
    if draw(st.booleans()):
        found.insert(draw(st.integers(0, 1)), draw(containers(name="beside")))
    directory = _fields(
        medium=st.sampled_from(("Memory", "")),
        sizeLimit=st.sampled_from(("8Gi", "64Mi", "1000Mi", "16Gi", "3Gi", "20G", "4294967296")),
    )
    spec = {"containers": found} | draw(
        _fields(
            terminationGracePeriodSeconds=st.sampled_from(
                (0, 30, 60, 90, 119, 120, 150, 600, 3600)
            ),
            hostIPC=st.booleans(),
            nodeSelector=st.sampled_from(_SELECTORS),
            affinity=st.lists(st.sampled_from(_SELECTED), max_size=2).map(_nodes),
            resources=_fields(
                limits=st.sampled_from(({"memory": "6Gi"}, {"memory": "80Gi"})),
                requests=st.sampled_from(({"memory": "10Gi"}, {"cpu": 1})),
            ),
            hostPID=st.booleans(),
            shareProcessNamespace=st.booleans(),
            runtimeClassName=st.sampled_from(("nvidia", "gvisor")),
            initContainers=st.lists(containers(name="first"), max_size=1),
            volumes=st.one_of(
                directory.map(lambda empty: [{"name": "dshm", "emptyDir": empty}]),
                st.just([{"name": "dshm", "hostPath": {"path": "/dev/shm"}}]),
            ),
        )
    )
    annotations = draw(
        _fields(
            **{
                "drainproof.dev/engine": st.sampled_from(("vllm", "tgi", "unknown")),
                "team/note": st.sampled_from(("glpat-Ab1Cd2Ef3Gh4Ij5Kl6Mn7", "your-hf_token")),
                "drainproof.dev/engine-version": st.sampled_from(("0.17.0", "v0.20", "x")),
            }
        )
    )
    metadata = {"annotations": annotations} if annotations else {}
    return {"metadata": metadata, "spec": spec}


_DEADLINES = {
    "progressDeadlineSeconds": st.sampled_from((60, 150, 300, 600, 1200)),
    "minReadySeconds": st.sampled_from((0, 30, 600)),
}
_SHARES = st.sampled_from((0, 1, 2, "0%", "25%", "50%", "100%"))
_NUMBERS = _fields(maxUnavailable=_SHARES, maxSurge=_SHARES)


@st.composite
def workloads(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an object of a kind that policies match."""
    template = draw(pods())
    kind = draw(st.sampled_from(("Deployment", "Rollout")) | st.sampled_from(tuple(_MAKERS)))
    version, make = _MAKERS[kind]
    body = make(draw, template)
    named = {"metadata": {"name": "llama", "namespace": "inference"}}
    if kind == "Pod":
        named["metadata"] |= template["metadata"]
    return {"apiVersion": version, "kind": kind, **named, **body}


def _spec(**rest: Drawn) -> Any:  # noqa: ANN401 - a function of the draw
    def make(draw: st.DrawFn, template: dict[str, Any]) -> dict[str, Any]:
        more = draw(_fields(replicas=st.integers(0, 5), **rest))
        return {"spec": {"template": template, **more}}

    return make


_MAKERS: dict[str, tuple[str, Any]] = {
    "Deployment": (
        "apps/v1",
        _spec(
            strategy=_fields(
                type=st.sampled_from(("RollingUpdate", "Recreate", "rollingUpdate", "")),
                rollingUpdate=_NUMBERS,
                maxSurge=_SHARES,
            ),
            updateStrategy=st.just({}),
            **_DEADLINES,
        ),
    ),
    "StatefulSet": (
        "apps/v1",
        _spec(
            updateStrategy=_fields(
                type=st.sampled_from(("RollingUpdate", "OnDelete", "Recreate")),
                rollingUpdate=_NUMBERS,
            )
        ),
    ),
    "DaemonSet": (
        "apps/v1",
        _spec(
            updateStrategy=_fields(
                type=st.sampled_from(("RollingUpdate", "OnDelete", "Recreate")),
                rollingUpdate=_NUMBERS,
            )
        ),
    ),
    "ReplicaSet": ("apps/v1", _spec()),
    "ReplicationController": ("v1", _spec()),
    "Rollout": (
        "argoproj.io/v1alpha1",
        _spec(
            strategy=st.one_of(
                st.just({"blueGreen": {}}), _NUMBERS.map(lambda numbers: {"canary": numbers})
            ),
            **_DEADLINES,
        ),
    ),
    "Job": ("batch/v1", lambda _, template: {"spec": {"template": template}}),
    "CronJob": (
        "batch/v1",
        lambda _, template: {"spec": {"jobTemplate": {"spec": {"template": template}}}},
    ),
    "Pod": ("v1", lambda _, template: {"spec": template["spec"]}),
    "LeaderWorkerSet": (
        "leaderworkerset.x-k8s.io/v1",
        lambda draw, template: {
            "spec": {
                **draw(_fields(replicas=st.integers(1, 3))),
                "leaderWorkerTemplate": draw(
                    _fields(
                        leaderTemplate=pods(),
                        workerTemplate=st.just(template),
                        size=st.integers(1, 3),
                    )
                ),
                "rolloutStrategy": draw(_fields(rollingUpdateConfiguration=_NUMBERS)),
            }
        },
    ),
    "Service": (
        "serving.knative.dev/v1",
        lambda draw, template: {
            "spec": {
                "template": {
                    **template,
                    "spec": {
                        **template["spec"],
                        **draw(_fields(timeoutSeconds=st.integers(60, 400))),
                    },
                }
            }
        },
    ),
}
