"""A suite: a base profile, what all variants share, and a list of variants, each a few settings away from the full."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from csasn.config import Configuration, Seed, Settings
from csasn.errors import BadInputError, listing
from csasn.files import file_sha256
from csasn.settings_files import flat_settings, overlaid, read_configuration, read_settings, read_toml, validated

FULL = "full"  # the variant that all others are set against
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
VARIED = ("network", "loss", "fit")  # a variant changes how it learns, never the cohort, the split or the evidence
OWNED = ("baselines", "seed")  # settings of fit that the study sets itself

Overrides = dict[str, dict[str, Any]]


class Variant(Settings):
    """One variant: the module of the full network that it gives up, and what it has instead."""

    name: str
    """Its name, part of its run folders' names: lower-case words joined by hyphens."""
    module: str = ""
    """What of the full network is judged, in words: "Attention"; the full network itself has none."""
    instead: str = ""
    """What the variant has in its place, in a few words: "none", "channel only"."""
    settings: Annotated[Overrides, Field(default_factory=dict)]
    """Settings that differ from the full network's, by group: network, loss or fit."""


class Suite(Settings):
    """A suite as its TOML file has it."""

    base: str
    """Profile that all variants start from, relative to the suite's folder."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    """Seeds of the trainings; every variant is trained once with each."""
    settings: Annotated[Overrides, Field(default_factory=dict)]
    """Settings of all variants that differ from the profile's, by group."""
    baselines: tuple[Literal["vit-logistic-regression"], ...] = ()
    """Models trained beside the full network, on its cached maps, and set against it as if they were variants."""
    variants: Annotated[tuple[Variant, ...], Field(min_length=2)]
    """The variants, in the order of training and of the tables; one is "full"."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolved:
    """A suite whose every setting was checked: its file, its hash, and each variant's configuration by seed."""

    path: Path
    sha256: str
    suite: Suite
    configurations: dict[tuple[str, int], Configuration]
    changed: dict[str, object]
    """Settings of all variants that were given another value than the suite's, by their dotted names."""


def shared_settings(path: Path) -> Configuration:
    """What all variants of a suite's file have in common: its profile, and over it the settings of the suite.

    Raises BadInputError where the suite, its profile or a shared setting is not valid.
    """
    suite = read_settings(path, Suite)
    base = path.parent / suite.base
    read_configuration(base)  # so that a fault of the profile is told as the profile's
    over = overlaid(read_toml(base), suite.settings, Configuration)
    return validated(over, source=f"{path}, its shared settings")


def read_suite(path: Path, shared: Configuration | None = None) -> Resolved:
    """The suite of a TOML file; `shared`, where given, is what all variants have in common in place of the suite's own.

    Raises BadInputError, naming all of them, where settings are unknown, out of range or not a variant's to change,
    where names repeat or are no names, where there is no variant "full" without settings of its own, or where two
    variants are the same.
    """
    suite = read_settings(path, Suite)
    if faults := [*_faults(suite), *_misplaced(suite)]:
        raise BadInputError(f"{path} is no suite that can be run:\n{listing(faults)}")
    own = shared_settings(path)
    base = (shared or own).model_dump(mode="json")
    changed = _differences(own, shared or own)
    if owned := [f"{name}: received {changed[name]}" for name in (f"fit.{each}" for each in OWNED) if name in changed]:
        raise BadInputError(
            f"The study gives every training its seed and its baselines; set `seeds` and `baselines` in {path.name}:\n"
            f"{listing(owned)}"
        )
    configurations = {
        (variant.name, seed): validated(
            overlaid(
                overlaid(base, variant.settings, Configuration),
                {"fit": {"baselines": _beside(suite, variant), "seed": seed}},
                Configuration,
            ),
            source=f"{path}, variant {variant.name}",
        )
        for variant in suite.variants
        for seed in suite.seeds
    }
    _refuse_twins(path, suite, configurations)
    return Resolved(path=path, sha256=file_sha256(path), suite=suite, configurations=configurations, changed=changed)


def _beside(suite: Suite, variant: Variant) -> list[str]:
    """The models that are trained in this variant's runs, beside it."""
    return list(suite.baselines) if variant.name == FULL else []


def _differences(own: Configuration, chosen: Configuration) -> dict[str, object]:
    """The settings that differ, by dotted name, as chosen."""
    before = flat_settings(own)
    return {name: value for name, value in flat_settings(chosen).items() if value != before[name]}


def _faults(suite: Suite) -> list[str]:
    names = [variant.name for variant in suite.variants]
    faults = [f"variants: {name!r} is no lower-case name with hyphens" for name in names if not NAME.fullmatch(name)]
    faults += [
        f"variants: {name!r} stands there {names.count(name)} times"
        for name in sorted(set(names))
        if names.count(name) > 1
    ]
    if len(set(suite.seeds)) < len(suite.seeds):
        faults.append(f"seeds: each one once; received {list(suite.seeds)}")
    faults += [f"variants: {name} is the name of a baseline" for name in suite.baselines if name in names]
    full = [variant for variant in suite.variants if variant.name == FULL]
    if not full or full[0].settings:
        faults.append(f"variants: one must be {FULL!r} and have no settings of its own: all others are set against it")
    faults += [
        f"variants: {variant.name} must say which module it judges and what it has instead"
        for variant in suite.variants
        if variant.name != FULL and not (variant.module and variant.instead)
    ]
    return faults


def _misplaced(suite: Suite) -> list[str]:
    faults = [
        f"variant {variant.name}: {group} is the same for all variants, set it in [settings.{group}]; "
        f"a variant may change {', '.join(VARIED)}"
        for variant in suite.variants
        for group in variant.settings
        if group in Configuration.model_fields and group not in VARIED
    ]
    places = [("settings", suite.settings), *((f"variant {each.name}", each.settings) for each in suite.variants)]
    faults += [
        f"{place}: fit.{name} is the study's own"
        for place, changes in places
        for name in OWNED
        if name in changes.get("fit", {})
    ]
    return faults


def _refuse_twins(path: Path, suite: Suite, configurations: dict[tuple[str, int], Configuration]) -> None:
    of_hash: dict[str, list[str]] = {}
    for variant in suite.variants:
        of_hash.setdefault(configurations[variant.name, suite.seeds[0]].sha256(), []).append(variant.name)
    if twins := [", ".join(names) for names in of_hash.values() if len(names) > 1]:
        raise BadInputError(
            f"Every variant of {path} differs from the others. These have the same settings:\n{listing(twins)}\n"
            "Leave one of them out."
        )
