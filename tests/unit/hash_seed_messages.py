"""Messages and files, made in one process: `test_hash_seeds.py` runs this with several hash seeds, and compares.

``python hash_seed_messages.py`` prints a text for each of `MESSAGES`. Whatever shows more than one name belongs in the
list: a callable that returns what is shown, or raises the error whose text is shown. Each starts in an empty folder.
"""

import contextlib
import io
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

APP_DIR = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(APP_DIR))

WRONG = ("no-such-key=1", "another=2", "way=1", "boost-factor=-1", "quorum=9", "step-curves=tail nose matching mouth")


def command_line(*arguments: str) -> str:
    """Return what a command prints, and how it ends."""
    from experiments.cli.commands import app

    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        try:
            app(list(arguments), prog_name="fedmeta")
        except SystemExit as end:
            shown.write(f"exit code {end.code}")
    return shown.getvalue()


def settings(*overrides: str, text: str = "") -> str:
    from experiments.settings import load_config

    Path("mine.toml").write_text(text, encoding="utf-8")
    return str(load_config("mine.toml", overrides, app_dir=APP_DIR).to_run_config())


def differences() -> str:
    from experiments.settings import load_config

    Path("mine.toml").touch()
    config = load_config("mine.toml", app_dir=APP_DIR)
    return "\n".join(config.differences(dict.fromkeys(config.to_run_config(), "other") | {"left": 1, "over": 2}))


def planned(*overrides: str) -> str:
    from experiments.plan import plan_runs

    options = {"dataset": "strokes", "profile": "quick", "seeds": (0,), "root": Path(), "data_dir": None}
    return str([str(one) for one in plan_runs((), overrides=overrides, app_dir=APP_DIR, **options)])  # type: ignore[arg-type]


def write_run(root: str, seed: int, run: str, way: int) -> None:
    from experiments.settings import read_defaults
    from fedmeta_flwr.records.writer import ResultsWriter

    config = read_defaults(APP_DIR) | {"seed": seed, "way": way, "shot": way, "outer-lr": way, "filters": way}
    with ResultsWriter(Path(root, f"strokes/quick/seed-{seed}", run)) as writer:
        writer.write_run({"config": config})
        writer.write_end("completed", 1.0)


def two_seeds_with_other_settings() -> str:
    from experiments.analysis.collection import collect

    write_run("root", 0, "attack-a", 5)
    write_run("root", 1, "attack-a", 6)
    return str(collect(Path("root")))


def published_with_other_settings() -> str:
    from experiments.analysis.publish import publish

    for run in ("attack-a", "attack-b", "attack-c", "no-attack-a"):
        write_run("published", 0, run, 5)
        write_run("root", 1, run, 6)
    return str(publish(Path("root"), Path("published")))


def completions() -> str:
    from experiments.cli.completion import complete_config, complete_experiment, complete_setting

    return "\n".join(map(str, [*complete_config(""), *complete_experiment(""), *complete_setting("")]))


def node_config() -> str:
    from fedmeta_flwr.apps.client import _checked

    return str(_checked({"left": 1, "over": 2, "data-dir": "relative", "partition-id": -1}))


def groups_of_no_known_split() -> str:
    import numpy as np

    from fedmeta_flwr.data import BuiltDataset
    from fedmeta_flwr.data.store import in_memory

    groups = ("train", "test", "left", "over", "rest")
    images = np.zeros((len(groups), 1, 1, 1, 1), np.uint8)
    return str(in_memory(BuiltDataset(images, tuple("abcde"), groups), "five").meta_train_classes)


def strategy(name: str, options: str) -> str:
    from strategies import make_strategy

    return str(vars(make_strategy(name, options, quorum=3, num_clients=4)))


def help_texts() -> str:
    return "\n".join(command_line(name, "--help") for name in ("run", "reproduce", "doctor", "bench"))


MESSAGES: dict[str, Callable[[], str]] = {
    "wrong settings": lambda: settings(*WRONG),
    "wrong choices": lambda: settings("case=d", "dataset=mnist", "defense=all", "embedding=x", "step-curves=x y"),
    "settings as they are": settings,
    "tables in a file": lambda: settings(text="[one]\n[two]\n[three]\n"),
    "a key that is missing": lambda: settings("backdoor-key=nowhere.png"),
    "custom objects that cannot be imported": lambda: command_line(
        "run", "quickstart", "-c", "client=a:b", "-c", "adversary=c:d", "-c", "embedding=e:f", "--results-dir", "out"
    ),
    "no such configuration": lambda: command_line("run", "nowhere"),
    "differences to a file": differences,
    "overrides that are chosen otherwise": lambda: planned("seed=3", "case=b", "resume=true", "dataset=omniglot"),
    "planned runs": planned,
    "an unknown experiment": lambda: command_line("reproduce", "one", "two", "three", "--results-dir", "out"),
    "catalog": lambda: command_line("catalog"),
    "catalog as JSON": lambda: command_line("catalog", "--json"),
    "seeds that differ": two_seeds_with_other_settings,
    "published seeds that differ": published_with_other_settings,
    "no results": lambda: command_line("claims", "."),
    "completions": completions,
    "node config": node_config,
    "groups of no known split": groups_of_no_known_split,
    "strategies": lambda: strategy("fedsgd", ""),
    "options of a strategy": lambda: strategy("fedadam", '{"left": 1, "over": 2}'),
    "help": help_texts,
}


def shown(make: Callable[[], str]) -> str:
    """Return what a message says, without the folder that it was made in."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        try:
            text = make()
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
        return text.replace(folder, "FOLDER")


if __name__ == "__main__":
    os.environ["COLUMNS"] = "200"
    json.dump({name: shown(make) for name, make in MESSAGES.items()}, sys.stdout, indent=1)
