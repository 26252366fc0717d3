"""Hashes of what the app and the command line write, so that a refactoring can show that it changes no result.

    PYTHONPATH=.:tests python -m golden.pins write FILE [--keep FOLDER]
    PYTHONPATH=.:tests python -m golden.pins compare FILE [--keep FOLDER]

`compare` prints what differs and exits with 1. To see how it differs, give both commands a folder to keep, and `diff`
the two. Hashes are equal only on processors of one kind and with the same versions: the file of hashes is made for one
comparison and is no part of the checkout.

A run gives two hashes: one of the lines of its result file without versions, revision, machine and seconds, and without
settings that came later and stand for what runs did before; and one of the arrays in all its model files. In all texts,
the folder of the command and the names of custom objects are replaced, since both may change where no result does.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported

import argparse
import hashlib
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from flwr.serverapp.strategy import FedAdam
from PIL import Image
from safetensors.numpy import load_file

from experiments.engines.inline import run_inline
from experiments.settings import APP_DIR, merge_settings, read_defaults
from fedmeta_flwr.config import RunConfig

CUSTOM = {
    "adversary": "examples.custom_adversary:QuietAdversary",
    "arrival-model": "examples.custom_arrival_model:Unreliable",
    "attention": "examples.custom_attention:Mahalanobis",
    "backdoor-key": "examples.custom_key:waves",
    "client": "examples.custom_client:NoisyClient",
    "dataset": "examples.custom_dataset:load_shapes",
    "embedding": "examples.custom_embedding:SmallResNet",
    "poisoning": "examples.custom_poisoning:blend_queries",
    "strategy": "examples.custom_strategy:MedianNormClipping",
}
"""Setting to custom object."""

PUBLISHED = "docs/results"
SMALL: dict[str, Any] = {
    "strokes-classes": 60,
    "image-size": 16,
    "filters": 8,
    "pretrain-rounds": 1,
    "pretrain-outer-steps": 2,
    "outer-steps": 1,
    "meta-batch-size": 2,
    "num-server-rounds": 4,
    "attack-round": 3,
    "poison-outer-steps": 3,
    "pretrain-evaluate-every": 1,
    "evaluate-every": 1,
    "evaluate-episodes": 2,
    "matching-way": 6,
    "matching-steps": 1,
    "fine-tuning-curve-steps": "0 1 3",
    "fine-tuning-curve-episodes": 2,
    "local-curve-steps": "0 1 3",
    "checkpoint-every": 0,
    "tensorboard": False,
    "device": "cpu",
}
REPEATED: dict[str, Any] = {
    "num-server-rounds": 8,
    "attack-interval": 2,
    "adversary-between-attacks": "benign",
    "late-updates": "next-round",
    "latency-sigma": 1.5,
}
"""Attacks in rounds 3, 5 and 7; with this spread of latencies, stragglers are busy for several rounds."""

BOOSTED: dict[str, Any] = {"boost-factor": 30.0}
"""So far that the bound of the custom adversary is reached."""

RESUMED = "federation-fedadam-repeated"
START = "no-attack"  # the run whose model another one starts from
# Settings of each run, which override `SMALL`; ROOT stands for the folder of the command.
RUNS: dict[str, dict[str, Any]] = {
    "default": {"tensorboard": True, "image-size": 28, "filters": 16},
    "case-b-transductive-fedprox": {
        "case": "b",
        "batch-norm": "transductive",
        "strategy": "fedprox",
        "strategy-options": '{"proximal_mu": 0.1}',
        "partition": "alphabet",
        "strokes-classes": 150,
        "rotation-augmentation": True,
    },
    "case-c-reptile-sgd-fedadam": {
        "case": "c",
        "algorithm": "reptile",
        "outer-optimizer": "sgd",
        "outer-lr": 0.1,
        "strategy": "fedadam",
        "strategy-options": '{"eta": 0.01}',
        "seed": 1,
    },
    "maml-krum": {
        "algorithm": "maml",
        "strategy": "krum",
        "strategy-options": '{"num_malicious_nodes": 1}',
        "num-clients": 6,
        "quorum": 5,
    },
    "fedmedian-repeated": REPEATED | {"strategy": "fedmedian", "adversary-arrives-first": False},
    "abstain-repeated": REPEATED | {"adversary-between-attacks": "abstain", "quorum": 2, "case": "b"},
    "fedtrimmedavg-num-examples": {"strategy": "fedtrimmedavg", "weighting": "num-examples", "seed": 2},
    "fedavg-num-examples": REPEATED | {"weighting": "num-examples"},
    "qfedavg": {"strategy": "qfedavg"},
    "fedavgm": {"strategy": "fedavgm", "strategy-options": '{"server_momentum": 0.5}'},
    "dp-client-fixed-clipping": {
        "strategy": "dp-client-fixed-clipping",
        "strategy-options": '{"clipping_norm": 0.5, "noise_multiplier": 0.01}',
    },
    "dp-client-adaptive-clipping": {"strategy": "dp-client-adaptive-clipping"},
    "dp-server-adaptive-clipping": {
        "strategy": "dp-server-adaptive-clipping",
        "strategy-options": '{"strategy": "fedmedian"}',
    },
    "dp-server-fixed-clipping-federation": {"strategy": "dp-server-fixed-clipping", "defense": "federation"},
    "rescue-curves": {"defense": "rescue", "case": "b", "step-curves": "fine-tuning matching head"},
    "rescue-case-c-fedprox": {
        "defense": "rescue",
        "case": "c",
        "strategy": "fedprox",
        "strategy-options": '{"proximal_mu": 0.1}',
    },
    "none-curves": {"step-curves": "fine-tuning head", "backdoor-key": "dots-inverted"},
    "federation-curves": {"defense": "federation", "case": "c", "step-curves": "matching"},
    RESUMED: REPEATED
    | {
        "defense": "federation",
        "strategy": "fedadam",
        "strategy-options": '{"eta": 0.01}',
        "step-curves": "matching",
        "checkpoint-every": 2,
    },
    "max-update-norm": {"max-update-norm": 0.1, "boost-factor": 30.0, "quorum": 2},
    START: {"attack-round": 0},
    "image-folder-patch": {
        "dataset": "image-folder",
        "data-dir": "ROOT/photos",
        "embedding": "conv4-pool",
        "backdoor-key": "patch",
        "key-position": "top-left",
        "key-size": 4,
        "key-intensity": 0.7,
        "poison-fraction": 0.4,
        "poison-support-episodes": 1.0,
    },
    "initial-model": {"initial-model": f"ROOT/{START}/model.safetensors", "num-server-rounds": 6, "attack-round": 6},
    "custom-all-but-attention": BOOSTED | {key: name for key, name in CUSTOM.items() if key != "attention"},
    "custom-attention-rescue": {"defense": "rescue", "attention": CUSTOM["attention"]},
    "custom-attention-federation": {
        **BOOSTED,
        "defense": "federation",
        **{key: CUSTOM[key] for key in ("attention", "adversary", "poisoning", "strategy")},
    },
    "custom-arrival-model": REPEATED | {"arrival-model": CUSTOM["arrival-model"]},
}
RUNS |= {
    f"custom-{key}": BOOSTED | {key: name} for key, name in CUSTOM.items() if key not in ("attention", "arrival-model")
}

Record = dict[str, bytes]


def records(root: Path, names: list[str]) -> Iterator[tuple[str, Record]]:
    """Yield the name of each run or command, and by file what it wrote; runs that others start from come first."""
    _write_photos(root / "photos")
    chosen = {*(names or RUNS), *([START] if "initial-model" in names else [])}
    for name in [name for name in RUNS if name in chosen]:
        yield name, _run_record(root, name)
        if name == RESUMED:
            yield f"{name}-resumed", _resumed_record(root)
    if not names:
        yield from _command_records(root)


def _run_record(root: Path, name: str, folder: str = "", **changes: Any) -> Record:
    overrides = {key: v.replace("ROOT", str(root)) if isinstance(v, str) else v for key, v in RUNS[name].items()}
    places = {"results-dir": str(root / (folder or name)), "cache-dir": str(root / "cache")}
    run_inline(merge_settings(read_defaults(APP_DIR), SMALL | overrides | places | changes))
    results = Path(places["results-dir"], "results.jsonl").read_text(encoding="utf-8")
    lines = "".join(map(_without_environment, results.splitlines(keepends=True)))
    # A resumed run has a separate folder, and must be equal nevertheless.
    lines = lines.replace(places["results-dir"], str(root / name))
    return {"results.jsonl": _neutral(lines, root), "models.json": _model_hashes(Path(places["results-dir"]))}


class _StopError(Exception):
    """Stops a run."""


def _resumed_record(root: Path) -> Record:
    """Stop the run in round 6, after checkpoints of rounds 2 and 4, and resume it."""
    aggregate, calls = FedAdam.aggregate_train, iter(range(1, 7))

    def stopping(*arguments: Any) -> Any:
        if next(calls) == 6:
            raise _StopError
        return aggregate(*arguments)

    folder = f"{RESUMED}-resumed"
    try:
        with patch.object(FedAdam, "aggregate_train", stopping):
            _run_record(root, RESUMED, folder)
    except _StopError:
        return _run_record(root, RESUMED, folder, resume=True)
    raise RuntimeError("expected a run that stops in round 6, found one that came to its end")


def _without_environment(line: str) -> str:
    """Return a line of a result file without what depends on the checkout, the machine and the clock."""
    record = json.loads(line)
    kept = {key: record[key] for key in record if key not in ("versions", "git_revision", "machine", "seconds")}
    if "config" in kept:
        before = RunConfig.with_later_settings({})
        config = kept["config"]
        kept["config"] = {key: config[key] for key in sorted(config) if before.get(key) != config[key]}
    return line if kept == record else json.dumps(kept) + "\n"


def _model_hashes(folder: Path) -> bytes:
    """Return, as JSON, file and array name to dtype, shape and hash."""
    models = {
        str(file.relative_to(folder)): {
            name: f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
            for name, array in sorted(load_file(file).items())
        }
        for file in sorted(folder.rglob("*.safetensors"))
    }
    return json.dumps(models, indent=1).encode()


def _neutral(text: str, root: Path) -> bytes:
    text = text.replace(str(root), "ROOT")
    for key, name in CUSTOM.items():
        text = text.replace(name, f"custom {key}")
    return text.encode()


def _write_photos(folder: Path) -> None:
    """Write 40 classes of 20 pictures, 3 x 16 x 16, each class with another mean."""
    rng = np.random.default_rng(5)
    for index in range(40):
        (folder / f"class-{index:02}").mkdir(parents=True)
        mean = rng.integers(40, 216, (16, 16, 3))
        for number in range(20):
            pixels = np.clip(mean + rng.integers(-40, 41, mean.shape), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"class-{index:02}" / f"{number:02}.png")


def _command_records(root: Path) -> Iterator[tuple[str, Record]]:
    """Yield what commands write of the published results and of a run of this command."""
    results, page = root / "published", root / "page.html"
    shutil.copytree(APP_DIR / PUBLISHED, results)
    yield "claims", {"stdout": _command(root, "claims", results), **_contents(results, "claims.*")}
    shutil.rmtree(results / "figures")
    yield "figures", {"stdout": _command(root, "figures", results), **_contents(results / "figures", "*")}
    _command(root, "report", results, "--output", page)
    yield "report-published", {"report.html": _neutral(page.read_text(encoding="utf-8"), root)}
    of_run = root / "rescue-curves"
    # This has the seconds of each round, and nothing else.
    (of_run / "times.jsonl").unlink()
    yield "figures-run", {"stdout": _command(root, "figures", of_run), **_contents(of_run, "*.[ps][nv]g")}
    _command(root, "report", of_run, "--output", page)
    yield "report-run", {"report.html": _neutral(page.read_text(encoding="utf-8"), root)}


def _command(root: Path, *arguments: str | Path) -> bytes:
    command = [sys.executable, "-m", "experiments", *map(str, arguments)]
    environment = os.environ | {"COLUMNS": "120"}
    process = subprocess.run(command, cwd=APP_DIR, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return _neutral(process.stdout, root)


def _contents(folder: Path, pattern: str) -> Record:
    return {file.name: file.read_bytes() for file in sorted(folder.glob(pattern))}


def pins(keep: Path | None, names: list[str]) -> dict[str, dict[str, str]]:
    """Return the hash of each record's files."""
    found: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory(prefix="fedmeta-pins-") as folder:
        for name, record in records(Path(folder).resolve(), names):
            print(name, flush=True)
            found[name] = {file: hashlib.sha256(content).hexdigest() for file, content in record.items()}
            for file, content in record.items() if keep else ():
                Path(keep or "", name).mkdir(parents=True, exist_ok=True)
                Path(keep or "", name, file).write_bytes(content)
    if RESUMED in found and found[RESUMED] != found[f"{RESUMED}-resumed"]:
        raise SystemExit(f"{RESUMED}: expected the resumed run to equal the uninterrupted one, found another")
    return found


def _processor() -> str:
    return f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}"


def _differences(expected: dict[str, Any], found: dict[str, Any], names: list[str]) -> list[str]:
    """Return a line for every run or command that differs, with the files that do."""
    lines = []
    for name in [name for name in expected | found if not names or name in found]:
        one, other = expected.get(name, {}), found.get(name, {})
        if files := [file for file in one | other if one.get(file) != other.get(file)]:
            lines.append(f"{name}: {', '.join(files)}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("write", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="receives what was hashed")
    parser.add_argument("--only", nargs="+", default=[], choices=RUNS, metavar="RUN", help="these runs, no commands")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    found = pins(arguments.keep, arguments.only)
    if arguments.action == "write":
        arguments.file.write_text(json.dumps({"processor": _processor(), "pins": found}, indent=1) + "\n")
        return
    expected = json.loads(arguments.file.read_text())
    if expected["processor"] != _processor():
        print(f"made on another processor: {expected['processor']}, here {_processor()}")
    if lines := _differences(expected["pins"], found, arguments.only):
        kept = f"; what was hashed is in {arguments.keep}" if arguments.keep else ""
        sys.exit("\n".join([f"{len(lines)} differ{kept}", *lines]))
    print("all the same")


if __name__ == "__main__":
    main()
