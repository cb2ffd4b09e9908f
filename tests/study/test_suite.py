"""Suites: what is refused, by name, and that the suites that come with the project are what they say."""

from pathlib import Path

import pytest

from csasn.config import Configuration, FinetuneSettings, FrozenSettings
from csasn.errors import BadInputError
from csasn.settings_files import overlaid
from csasn.study.suite import read_suite, shared_settings

SUITES = Path(__file__).parents[2] / "configs/suites"
FULL = '[[variants]]\nname = "full"\n'


def variant(name: str, settings: str, words: str = 'module = "A"\ninstead = "B"') -> str:
    return f'[[variants]]\nname = "{name}"\n{words}\nsettings = {settings}\n'


def refused(folder: Path, text: str) -> str:
    path = folder / "suite.toml"
    (folder / "base.toml").write_text("[fit]\nbatch_size = 16\n")
    path.write_text(text if text.startswith("base =") else f'base = "base.toml"\nseeds = [0]\n{text}')
    with pytest.raises(BadInputError) as caught:
        read_suite(path)
    return str(caught.value)


FLAT = variant("flat", '{ network = { head = "flat" } }')


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (FULL + variant("flat", '{ network = { haed = "flat" } }'), "network.haed: Extra inputs are not permitted"),
        (FULL + variant("flat", '{ netwerk = { head = "flat" } }'), "netwerk: Extra inputs are not permitted"),
        (FULL + variant("flat", '{ network = { head = "round" } }'), "variant flat"),
        (FULL + variant("flat", "{ split = { seed = 1 } }"), "variant flat: split is the same for all variants"),
        (FULL + variant("flat", "{ fit = { seed = 1 } }"), "variant flat: fit.seed is the study's own"),
        (FULL + FLAT + '[settings.fit]\nbaselines = ["cnn-only"]\n', "settings: fit.baselines is the study's own"),
        (FULL + FLAT + FLAT, "'flat' stands there 2 times"),
        (FULL + variant("../up", '{ network = { head = "flat" } }'), "'../up' is no lower-case name"),
        (FULL + variant("flat", '{ network = { head = "flat" } }', ""), "must say which module it judges"),
        (FLAT + variant("linear", '{ network = { classifier = "linear" } }'), "one must be 'full'"),
        (FULL, "at least 2 items"),
        (FULL + FLAT + variant("again", '{ network = { head = "flat" } }'), "flat, again"),
        ('base = "base.toml"\nseeds = [1, 1]\n' + FULL + FLAT, "seeds: each one once; received [1, 1]"),
        ('base = "base.toml"\nseeds = []\n' + FULL + FLAT, "seeds: Tuple should have at least 1 item"),
        (f'baselines = ["flat"]\n{FULL}{FLAT}', "baselines.0: Input should be 'vit-logistic-regression'"),
        (
            f'baselines = ["vit-logistic-regression"]\n{FULL}'
            + variant("vit-logistic-regression", '{ network = { head = "flat" } }'),
            "vit-logistic-regression is the name of a baseline",
        ),
        ('base = "none.toml"\nseeds = [0]\n' + FULL + FLAT, "There is no configuration at"),
        (FULL + FLAT + "nonsense = 1\n", "nonsense"),
    ],
)
def test_a_faulty_suite_is_refused(tmp_path: Path, text: str, told: str) -> None:
    assert told in refused(tmp_path, text)


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    told = refused(tmp_path, FLAT + FLAT + variant("B", "{ predict = { n_views = 1 } }"))
    assert all(each in told for each in ("2 times", "'B' is no", "one must be 'full'", "predict is the same"))


@pytest.mark.parametrize("path", sorted(SUITES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_suite_of_the_project_can_be_read(path: Path) -> None:
    resolved = read_suite(path)
    for (name, seed), configuration in resolved.configurations.items():
        beside = resolved.suite.baselines if name == "full" else ()
        assert (configuration.fit.seed, configuration.fit.baselines) == (seed, beside)
        own = next(each for each in resolved.suite.variants if each.name == name).settings
        dumped = configuration.model_dump(mode="json")
        assert overlaid(dumped, own, Configuration) == dumped
    groups = ("split", "imaging", "augmentation", "predict", "evaluate")
    for group in groups:
        assert len({str(getattr(each, group)) for each in resolved.configurations.values()}) == 1


def test_given_shared_settings_take_the_place_of_the_suites_but_not_of_a_variants() -> None:
    path = SUITES / "paper.toml"
    own, shared = read_suite(path), shared_settings(path)
    assert own.changed == {}
    fit = shared.fit.model_copy(update={"frozen": FrozenSettings(epochs=30), "finetune": FinetuneSettings(epochs=1)})
    split = shared.split.model_copy(update={"scheme": "grouped-kfold"})
    given = read_suite(path, shared.model_copy(update={"fit": fit, "split": split}))
    assert given.changed == {"split.scheme": "grouped-kfold", "fit.frozen.epochs": 30, "fit.finetune.epochs": 1}
    assert given.sha256 == own.sha256
    for (name, seed), configuration in given.configurations.items():
        of_suite = own.configurations[name, seed]
        assert (configuration.split.scheme, configuration.fit.frozen.epochs) == ("grouped-kfold", 30)
        assert configuration.fit.finetune.epochs == (of_suite.fit.finetune.epochs or 1)
        restored = configuration.model_copy(update={"split": of_suite.split, "fit": of_suite.fit})
        assert restored == of_suite
    assert read_suite(path, shared).configurations == own.configurations


def test_what_a_study_sets_by_itself_is_not_given() -> None:
    shared = shared_settings(SUITES / "paper.toml")
    fit = shared.fit.model_copy(update={"seed": 7, "baselines": ("cnn-only",)})
    with pytest.raises(BadInputError, match=r"set `seeds` and `baselines` in paper\.toml") as caught:
        read_suite(SUITES / "paper.toml", shared.model_copy(update={"fit": fit}))
    assert all(each in str(caught.value) for each in ("fit.baselines: received ['cnn-only']", "fit.seed: received 7"))
