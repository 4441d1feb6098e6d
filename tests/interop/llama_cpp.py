"""llama.cpp with a file of ours, asked over its own local server."""

import json
import urllib.request
from pathlib import Path
from typing import Any


class LlamaCpp:
    """A running llama.cpp: one thread, everything in float32."""

    def __init__(self, path: Path, context: int = 512) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.n_parallel, params.port, params.verbosity = context, 1, 0, -1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.warmup, params.use_jinja = False, True
        self.server = xllamacpp.Server(params)

    def ask(self, path: str, **body: Any) -> Any:
        request = urllib.request.Request(
            self.server.listening_address + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def ids(self, text: str, *, special: bool = False) -> list[int]:
        return self.ask("/tokenize", content=text, add_special=True, parse_special=special)["tokens"]

    def chat(self, messages: list[dict[str, str]]) -> str:
        return self.ask("/apply-template", messages=messages)["prompt"]

    def greedy(self, ids: list[int], count: int) -> list[int]:
        return self.ask(
            "/completion", prompt=ids, n_predict=count, temperature=0, top_k=1, ignore_eos=True, return_tokens=True
        )["tokens"]
