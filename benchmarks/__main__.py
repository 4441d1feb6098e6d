"""Every benchmark, one after the other, as one JSON document on stdout; what happens meanwhile on stderr.

`python -m benchmarks [NAME...]`: all of them, or those named. Each is a module with `run() -> dict`.
"""

import importlib
import json
import platform
import sys
import time
from importlib.metadata import version
from types import ModuleType

NAMES = (
    "data",
    "plan",
    "generation",
    "training",
    "finetune",
    "rollouts",
    "gan",
    "pictures",
    "clip",
    "text_to_image",
    "vlm",
)


def main(names: list[str]) -> int:
    """Run the benchmarks and print what they measured.

    Args:
        names: Some of `NAMES`.

    Returns:
        1 where one could not run; the others' figures are printed all the same.
    """
    if unknown := [name for name in names if name not in NAMES]:
        print(f"benchmarks: no such benchmark: {unknown[0]}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    done, failed = {"machine": machine()}, 0
    for name in names:
        print(f"benchmarks: {name}", file=sys.stderr, flush=True)
        start = time.perf_counter()
        try:
            done[name] = load(name).run()
        except ModuleNotFoundError as fault:
            if fault.name is None or fault.name.partition(".")[0] in ("makar", "benchmarks"):
                raise
            failed = 1
            done[name] = {"missing": fault.name}
            line = f"{name} needs {fault.name}, a peer that is not installed; pip install -e '.[peers]'"
            print(f"benchmarks: {line}", file=sys.stderr)
            continue
        print(f"benchmarks: {name} took {time.perf_counter() - start:.0f} s", file=sys.stderr)
    print(json.dumps(done, indent=2))
    return failed


def load(name: str) -> ModuleType:
    """One benchmark; its module imports its peers."""
    return importlib.import_module(f"benchmarks.{name}")


def machine() -> dict[str, object]:
    """What the figures hold for."""
    import torch

    from makar.core.device import processor

    return {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(NAMES)))
