"""Settings: refused by name, written and read back whole."""

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from csasn.config import (
    Configuration,
    EvaluateSettings,
    FitSettings,
    FrozenSettings,
    ImagingSettings,
    LossSettings,
    NetworkSettings,
    SplitSettings,
)
from csasn.errors import BadInputError
from csasn.settings_files import (
    RENAMED,
    flat_settings,
    overlaid,
    read_configuration,
    renamed_option,
    to_toml,
    validated,
)

PROFILES = sorted((Path(__file__).parents[2] / "configs").glob("*.toml"))


def test_every_wrong_name_and_value_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text('[fit]\nbatch_size = 1\nlerning_rate = 2.0\n[loss]\nclasses = "sharp"\n[networks]\n')
    with pytest.raises(BadInputError) as caught:
        read_configuration(path)
    message = str(caught.value)
    for expected in (
        str(path),
        "fit.batch_size: Input should be greater than or equal to 2 (received 1)",
        "fit.lerning_rate: Extra inputs are not permitted (received 2.0)",
        "loss.classes: Input should be 'none', 'inverse-frequency', 'effective-number', 'focal', 'ldam-drw', "
        "'logit-adjustment', 'balanced-softmax' or 'dynamic' (received 'sharp')",
        "networks: Extra inputs are not permitted",
    ):
        assert expected in message


@pytest.mark.parametrize(
    ("group", "name", "value"),
    [
        ("split", "n_folds", 1),
        ("split", "tuning_fraction", 0.5),
        ("imaging", "size_px", 31),
        ("augmentation", "flip_probability", 1.01),
        ("network", "dropout", 1.0),
        ("loss", "effective_beta", 1.0),
        ("fit", "accumulate", 0),
        ("fit", "baselines", ["another"]),
        ("evaluate", "confidence", 0.5),
    ],
)
def test_values_out_of_range_are_refused(group: str, name: str, value: object) -> None:
    with pytest.raises(BadInputError, match=rf"{group}\.{name}"):
        validated({group: {name: value}}, source="test")


def test_no_more_views_are_read_than_cached() -> None:
    with pytest.raises(BadInputError, match=r"predict\.n_views \(4\) must not exceed fit\.cached_views \(3\)"):
        validated({"predict": {"n_views": 4}, "fit": {"cached_views": 3}}, source="test")


@pytest.mark.parametrize(
    "classes", ["inverse-frequency", "dynamic", "ldam-drw", "logit-adjustment", "balanced-softmax"]
)
def test_the_prior_is_corrected_once(classes: str) -> None:
    twice = {"loss": {"classes": classes}, "fit": {"sampling": "class-balanced"}}
    with pytest.raises(BadInputError, match=rf"class-balanced with loss\.classes {classes} would correct .* twice"):
        validated(twice, source="test")


@pytest.mark.parametrize(("classes", "sampling"), [("none", "class-balanced"), ("focal", "class-balanced")])
@pytest.mark.parametrize("also", ["dynamic", "logit-adjustment"])
def test_one_correction_is_accepted(classes: str, sampling: str, also: str) -> None:
    validated({"loss": {"classes": classes}, "fit": {"sampling": sampling}}, source="test")
    validated({"loss": {"classes": also}, "fit": {"sampling": "patient-balanced"}}, source="test")


def test_gradnorm_needs_a_part_that_the_tasks_share() -> None:
    bare = {"classifier": "linear", "attention": "none"}
    with pytest.raises(BadInputError, match="there is none below the heads that learns"):
        validated({"network": bare, "loss": {"tasks": "gradnorm"}}, source="test")
    validated({"network": bare}, source="test")
    for kept, value in bare.items():
        validated({"network": {kept: value}, "loss": {"tasks": "gradnorm"}}, source="test")


@pytest.mark.parametrize("content", [b"[fit\n", b"\xff\xfe"])
def test_what_is_no_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"broken\.toml is not valid TOML"):
        read_configuration(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"nothing\.toml"):
        read_configuration(tmp_path / "nothing.toml")


texts = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=20)
configurations = st.builds(
    Configuration,
    split=st.builds(
        SplitSettings,
        scheme=st.sampled_from(["grouped-kfold", "leave-one-site-out", "holdout"]),
        n_folds=st.integers(2, 20),
        tuning_fraction=st.floats(0, 0.5, exclude_min=True, exclude_max=True),
        seed=st.integers(0, 2**31),
    ),
    imaging=st.builds(ImagingSettings, size_px=st.integers(32, 2000)),
    network=st.builds(NetworkSettings, cnn=texts, head=st.sampled_from(["chain", "flat"])),
    loss=st.builds(LossSettings, effective_beta=st.floats(0, 1, exclude_max=True)),
    fit=st.builds(
        FitSettings,
        weights=texts,
        frozen=st.builds(FrozenSettings, learning_rate=st.floats(0, exclude_min=True, allow_infinity=False)),
        baselines=st.lists(st.sampled_from(["cnn-only", "vit-only"]), unique=True).map(tuple),
    ),
)


@settings(deadline=None, max_examples=40)
@given(configuration=configurations)
def test_written_settings_are_read_back(tmp_path_factory: pytest.TempPathFactory, configuration: Configuration) -> None:
    path = tmp_path_factory.getbasetemp() / "config.toml"
    path.write_text(to_toml(configuration), encoding="utf-8")
    again = read_configuration(path)
    assert again == configuration
    assert again.sha256() == configuration.sha256()


def test_a_folder_name_beyond_the_bmp_is_written_and_read_back(tmp_path: Path) -> None:
    configuration = Configuration(fit=FitSettings(weights="/home/\U0001f600/weights"))
    (tmp_path / "config.toml").write_text(to_toml(configuration), encoding="utf-8")
    assert read_configuration(tmp_path / "config.toml") == configuration


def test_the_hash_follows_every_group() -> None:
    plain = Configuration()
    changes: list[dict[str, dict[str, object]]] = [
        {"split": {"seed": 1}},
        {"imaging": {"size_px": 96}},
        {"augmentation": {"scale": 0.2}},
        {"network": {"head": "flat"}},
        {"loss": {"tasks": "fixed"}},
        {"fit": {"seed": 1}},
        {"predict": {"n_views": 1}},
        {"evaluate": {"confidence": 0.9}},
        {"novelty": {"n_neighbours": 3}},
        {"shortcuts": {"n_permutations": 99}},
        {"explain": {"n_similar": 3}},
    ]
    hashes = {validated(each, source="test").sha256() for each in changes}
    assert len(hashes) == len(changes) == len(Configuration.model_fields)
    assert plain.sha256() not in hashes
    assert plain.sha256() == Configuration().sha256()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Configuration().fit.seed = 3


@pytest.mark.parametrize("path", PROFILES, ids=[path.stem for path in PROFILES])
def test_every_profile_is_valid_and_read_whole(path: Path) -> None:
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    resolved = read_configuration(path).model_dump(mode="json")
    assert content
    assert overlaid(resolved, content, Configuration) == resolved


@pytest.mark.parametrize("old", sorted(RENAMED))
def test_a_name_of_an_earlier_version_is_refused_with_the_new_one(old: str, tmp_path: Path) -> None:
    """In TOML, which is also how an old run folder's settings are read, and on the command line."""
    *groups, name = old.split(".")
    if groups:
        path = tmp_path / "config.toml"
        path.write_text(f"[{'.'.join(groups)}]\n{name} = 1\n", encoding="utf-8")
        with pytest.raises(BadInputError, match=re.escape(f"{old}: it is called {RENAMED[old]} now")):
            read_configuration(path)
        words = renamed_option(["--split.seed", "1", f"--{old.replace('_', '-')}=1"])
        assert words is not None
        assert all(f"--{each.replace('_', '-')}" in words for each in RENAMED[old].split(" and "))


def test_every_new_name_is_a_setting() -> None:
    names = set(flat_settings(Configuration()))
    assert {each for old, new in RENAMED.items() if "." in old for each in new.split(" and ")} <= names
    assert renamed_option(["--fit.baselines", "cnn-only", "rivals"]) is None


def test_a_delete_character_survives(tmp_path):
    configuration = Configuration(network=NetworkSettings(cnn="a\x7fb"))
    path = tmp_path / "config.toml"
    path.write_text(to_toml(configuration), encoding="utf-8")
    assert read_configuration(path) == configuration


def test_a_declared_population_survives_toml(tmp_path):
    declared = {"malignancy": 0.05, 'odd "name"': 0.95}
    settings = Configuration(evaluate=EvaluateSettings(population=declared, calibrated_together=("MTC", "ATC")))
    path = tmp_path / "config.toml"
    path.write_text(to_toml(settings))
    assert read_configuration(path) == settings
