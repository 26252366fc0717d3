"""Where the numbers come from: settings, environment, data, and the commands that reproduce them."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import tomli_w

from experiments.analysis.report.material import Material, ShownRun
from experiments.catalog import DATASETS, EXPERIMENTS, PROFILES
from experiments.plan import SETTINGS_OF_A_SEED, plan_runs
from experiments.settings import APP_DIR, read_defaults
from fedmeta_flwr.attacks import KeyEffect
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.config.setting import key_of

_DATA_DIR = "DIR"
_KEY = "backdoor-key"
_KEY_REMARK = "The image file of its key (backdoor-key) must be there, too."


@dataclass(frozen=True)
class SettingRow:
    """A setting of a run: its key, its value, whether that is the default, and what it means."""

    key: str
    value: str
    is_default: bool
    text: str


@dataclass(frozen=True)
class Recipe:
    """How to reproduce the results: shell commands, a configuration to save (empty: none needed), and remarks."""

    commands: tuple[str, ...]
    file: str
    remarks: tuple[str, ...]


def setting_rows(run: ShownRun) -> list[SettingRow]:
    """Return all settings of a run in the order of `RunConfig`; paths are cut to their last part."""
    defaults = read_defaults(APP_DIR)
    known = {key_of(field): field.metadata["description"] for field in fields(RunConfig)}
    ordered = [key for key in known if key in run.config] + [key for key in run.config if key not in known]
    return [
        SettingRow(key, _shown(key, run.config[key]), defaults.get(key) == run.config[key], known.get(key, ""))
        for key in ordered
    ]


def differing_settings(material: Material) -> list[tuple[str, ...]]:
    """Return the settings in which the runs differ: the key, then the value of each run."""
    configs = [run.config for run in material.runs]
    ignored = RunConfig.free_settings() | {"initial-model"}
    keys = sorted({key for config in configs for key in RunConfig.differing(configs[0], config, but_for=ignored)})
    values = {key: [_shown(key, config.get(key, "")) for config in configs] for key in keys}
    return [(key, *found) for key, found in values.items() if len(set(found)) > 1]


def environment_rows(run: ShownRun) -> list[tuple[str, str]]:
    """Return what is known of a run's versions, machine, data and model."""
    record, end = run.results.run, run.results.end or {}
    machine, dataset, split = (record.get(name, {}) for name in ("machine", "dataset", "split"))
    found = {
        "git revision": record.get("git_revision"),
        **{f"version of {name}": number for name, number in record.get("versions", {}).items()},
        "system": machine.get("system"),
        "cores": machine.get("cores"),
        "processor": machine.get("processor"),
        "data set": dataset.get("name"),
        "data: classes, images per class, channels, height, width": _joined(dataset.get("shape")),
        "data: fingerprint (SHA-256 over pixels and names)": dataset.get("fingerprint"),
        "target class": split.get("target_class"),
        "backdoor classes": _joined(split.get("backdoor_classes")),
        "backdoor key": KeyEffect(**key) if (key := record.get("backdoor_key")) else None,
        "classes of each client": _joined(split.get("classes_per_client")),
        "meta-testing classes": split.get("meta_test_classes"),
        "digest of the initial model": record.get("initial_model_digest"),
        "digest of the final model": end.get("model_digest"),
        "how it ended": end.get("status", "it has not ended"),
        _seconds_of(record): f"{end['seconds']:.0f}" if end.get("seconds") else None,
    }
    return [(name, "not recorded" if value is None else str(value)) for name, value in found.items()]


def _seconds_of(record: Mapping[str, Any]) -> str:
    cases = record.get("cases")
    return f"seconds (its share of a run of cases {', '.join(cases)})" if cases else "seconds"


def recipe_of(material: Material) -> Recipe:
    """Return how to reproduce the results of a material."""
    revisions = _revisions(material)
    clean = sorted({revision.removesuffix("-dirty") for revision in revisions} - {"unknown"})
    checkout = [f"git checkout {shlex.quote(clean[0])}"] if len(clean) == 1 else []
    remarks = [f"The runs are of several revisions: {', '.join(clean)}."] if len(clean) > 1 else []
    if any(revision.endswith("-dirty") for revision in revisions):
        remarks.append("The checkout had changes that are not in its revision.")
    if material.collection.dataset != "strokes":
        remarks.append(f"{_DATA_DIR} is the folder with the data set's files.")
    made = _of_single(material) if material.is_single else _of_root(material)
    return Recipe((*checkout, *made.commands), made.file, (*remarks, *made.remarks))


def _revisions(material: Material) -> set[str]:
    """Return the revisions of all runs, of each seed."""
    shown = (run.results for run in material.runs)
    others = (results for seeds in material.collection.runs.values() for results in seeds.values())
    return {str(results.run.get("git_revision", "unknown")) for results in (*shown, *others)}


def _of_single(material: Material) -> Recipe:
    (run,) = material.runs
    settings = {key: value for key, value in run.config.items() if key not in RunConfig.free_settings()}
    command = ["uv", "run", "python", "-m", "experiments", "run", "run.toml", *_data_dir(material)]
    remarks = ["Save the settings below as run.toml first."]
    if settings.get("initial-model"):
        settings["initial-model"] = Path(settings["initial-model"]).name
        remarks.append("It starts from the model of another run (initial-model), which must be there, too.")
    if key_file := _key_file(settings):
        settings[_KEY] = key_file
        remarks.append(_KEY_REMARK)
    return Recipe((shlex.join([*command, "--results-dir", "results/again"]),), tomli_w.dumps(settings), tuple(remarks))


def _of_root(material: Material) -> Recipe:
    collection = material.collection
    if collection.dataset not in DATASETS or collection.profile not in PROFILES:
        return Recipe((), "", (f"{material.name} is not in the catalog: see the settings of each run.",))
    names, others = _experiments(material)
    overrides, fits = _overrides(material, names)
    remarks = [f"It makes more runs than are here: {', '.join(others)}."] if others else []
    remarks += [] if fits else ["Not all settings can be given for all runs alike: see the settings of each run."]
    if key_file := next(filter(None, (_key_file(run.config) for run in material.runs)), ""):
        overrides.append(f"{_KEY}={json.dumps(key_file)}")
        remarks.append(_KEY_REMARK)
    return Recipe(tuple(_reproduce(material, names, overrides)), "", tuple(remarks))


def _experiments(material: Material) -> tuple[list[str], list[str]]:
    """Return the experiments that produce these results, whole ones first, and the other runs that they produce."""
    here, profile = set(material.collection.runs), material.collection.profile
    made = {name: set(experiment.runs_in(profile)) for name, experiment in EXPERIMENTS.items()}
    chosen = [name for name, runs in made.items() if runs <= here]
    while missing := here - {run for name in chosen for run in made[name]}:
        useful = [name for name, runs in made.items() if runs & missing]
        if not useful:
            break
        chosen.append(min(useful, key=lambda name: (len(made[name] - here), -len(made[name] & missing))))
    return chosen, sorted({run for name in chosen for run in made[name]} - here)


def _reproduce(material: Material, names: Sequence[str], overrides: Sequence[str]) -> Iterator[str]:
    collection = material.collection
    what = ["uv", "run", "python", "-m", "experiments", "reproduce", *names]
    which = ["--dataset", collection.dataset, "--profile", collection.profile]
    own = [part for override in overrides for part in ("-c", override)]
    for first, number in _stretches(material.seeds):
        seeds = ["--seeds", str(number), "--first-seed", str(first)]
        yield shlex.join([*what, *which, *seeds, *_data_dir(material), "--results-dir", "results/again", *own])
    yield "uv run python -m experiments report results/again"


def _stretches(seeds: Sequence[int]) -> list[tuple[int, int]]:
    """Return first seed and length of each stretch of consecutive seeds."""
    starts = [seed for seed in seeds if seed - 1 not in seeds]
    return [(start, next(n for n in range(1, len(seeds) + 1) if start + n not in seeds)) for start in starts]


def _overrides(material: Material, names: Sequence[str]) -> tuple[list[str], bool]:
    """Return the settings that were given with ``-c``, and whether the catalog's runs with them are those here."""
    differing = _differing(material, names, [])
    overrides = [f"{key}={json.dumps(value)}" for key, value in sorted(differing.items())]
    return overrides, not _differing(material, names, overrides)


def _differing(material: Material, names: Sequence[str], overrides: Sequence[str]) -> dict[str, Any]:
    """Return the settings in which the runs here differ from those of the catalog."""
    seed = material.seeds[0]
    planned = plan_runs(
        names,
        dataset=material.collection.dataset,
        profile=material.collection.profile,
        seeds=[seed],
        root=Path(),
        data_dir=None,
        overrides=overrides,
        app_dir=APP_DIR,
    )
    found: dict[str, Any] = {}
    for one in planned:
        if one.run.name in material.collection.runs:
            recorded: Mapping[str, Any] = material.collection.config(one.run.name)
            wanted = one.config.to_run_config()
            differing = RunConfig.differing(wanted, recorded, but_for=SETTINGS_OF_A_SEED)
            found |= {key: recorded[key] for key in differing if key in wanted and key in recorded}
            if _key_file(found):  # it need not be here
                del found[_KEY]
    return found


def _key_file(settings: Mapping[str, Any]) -> str:
    """Return the name of the key's image file, without its folders; empty if the key is not a file."""
    key = Path(str(settings.get(_KEY, "")))
    return key.name if key.is_absolute() else ""


def _data_dir(material: Material) -> list[str]:
    return [] if material.collection.dataset == "strokes" else ["--data-dir", _DATA_DIR]


def _shown(key: str, value: Any) -> str:
    """Return a value as text, without folders, because the page may be passed on."""
    if (key in RunConfig.paths() and value) or _key_file({key: value}):
        return f"…/{Path(str(value)).name}"
    return json.dumps(value, ensure_ascii=False)


def _joined(values: Sequence[Any] | None) -> str | None:
    return None if values is None else ", ".join(map(str, values))
