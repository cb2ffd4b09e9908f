"""The verdict on a module: figures, exchange test, words and the picture's front against independent values."""

from dataclasses import asdict
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.special import softmax
from sklearn.metrics import f1_score, roc_auc_score

from csasn.errors import MismatchError
from csasn.evidence.ablation import Arm, ablation_content, exchanged_p, mean_predictions
from csasn.evidence.wording import rounded_up
from csasn.report.figures.study import named, on_front
from csasn.runs import Run
from csasn.schema import classes_of
from tests.support.synthetic_run import make_run, manifest, predictions

CLASSES = classes_of(manifest())
FRAME = predictions(manifest(), CLASSES)
STRONG = FRAME.filter(pl.col("model") == "csasn")
WEAK = FRAME.filter(pl.col("model") == "vit-logistic-regression").with_columns(pl.lit("csasn").alias("model"))


def run_with(folder: Path, frame: pl.DataFrame) -> Run:
    run = make_run(folder)
    frame.write_parquet(run.path("predictions.parquet"))
    run.finish("predict", inputs=("split.csv",), outputs=("predictions.parquet",))
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("arms")
    again = predictions(manifest(), CLASSES, seed=1).filter(pl.col("model") == "csasn")
    frames = {"strong": STRONG, "weak": WEAK, "again": again}
    return {name: run_with(folder / name, frame) for name, frame in frames.items()}


def arm(name: str, **runs: Run) -> Arm:
    return Arm(name=name, module="" if name == "full" else "Part", instead="none", runs=dict(enumerate(runs.values())))


def test_a_worse_variant_shows_that_its_module_helps_and_a_better_one_that_it_hurts(runs: dict[str, Run]) -> None:
    for full, other, verdict, word in (("strong", "weak", "helps", "higher"), ("weak", "strong", "hurts", "lower")):
        content = asdict(ablation_content([arm("full", one=runs[full]), arm("part", one=runs[other])], full="full"))
        variant = content["variants"][1]
        assert variant["verdict"] == verdict
        assert variant["paragraph"].startswith(f"Part, against none: {verdict}. Macro AUROC of the full network is ")
        assert f" {word} (95 % interval 0." in variant["paragraph"]


def test_a_variant_that_reads_alike_cannot_be_told(runs: dict[str, Run]) -> None:
    content = asdict(ablation_content([arm("full", one=runs["strong"]), arm("same", one=runs["strong"])], full="full"))
    told = content["variants"][1]
    assert told["verdict"] == "cannot be told"
    assert told["paragraph"].startswith(f"Part, against none: cannot be told with {content['n_patients']} patients.")
    assert "not one patient tells the two apart" in told["paragraph"]
    assert {row["estimate"] for row in told["differences"]} <= {0.0, None}


def test_seeds_are_averaged_before_patients_are_judged(runs: dict[str, Run]) -> None:
    both = arm("full", one=runs["strong"], two=runs["again"])
    content = asdict(ablation_content([both, arm("part", one=runs["weak"], two=runs["weak"])], full="full"))
    figures = {(each["target"], each["metric"]): each["estimate"] for each in content["variants"][0]["figures"]}
    frames = [pl.read_parquet(run.path("predictions.parquet")) for run in both.runs.values()]
    columns = [f"probability_{name}" for name in CLASSES.names]
    keyed = [frame.filter(pl.col("partition") == "test").sort("image_path") for frame in frames]
    mean = np.mean([frame.select(columns).to_numpy() for frame in keyed], axis=0)
    logs = pl.DataFrame(np.log(mean), schema=list(CLASSES.names)).with_columns(
        keyed[0]["patient_id"], keyed[0]["subtype"]
    )
    of_patient = logs.group_by("patient_id", "subtype").mean().sort("patient_id")
    p = softmax(of_patient.select(CLASSES.names).to_numpy(), axis=1)
    y = np.array([CLASSES.names.index(name) for name in of_patient["subtype"]])
    expected = np.mean([roc_auc_score(y == k, p[:, k]) for k in range(len(CLASSES.names))])
    assert figures["all", "macro_auroc"] == pytest.approx(expected)
    assert figures["all", "macro_f1"] == pytest.approx(f1_score(y, p.argmax(axis=1), average="macro"))
    rare = [CLASSES.names.index(name) for name in content["rare_classes"]]
    assert figures["rare classes", "auroc"] == pytest.approx(np.mean([roc_auc_score(y == k, p[:, k]) for k in rare]))
    by_seed = [each["estimate"] for each in content["variants"][0]["by_seed"] if each["metric"] == "macro_auroc"]
    assert len(set(by_seed)) == 2
    assert max(by_seed) < figures["all", "macro_auroc"]  # errors that the seeds do not share average out


def test_mean_sensitivity_is_that_of_the_rare_classes(runs: dict[str, Run]) -> None:
    figures = asdict(ablation_content([arm("full", one=runs["strong"]), arm("part")], full="full"))["variants"][0][
        "figures"
    ]
    of_class = [each for each in figures if each["metric"] == "sensitivity" and each["target"] in ("FTC", "MTC", "ATC")]
    mean = next(each for each in figures if (each["target"], each["metric"]) == ("rare classes", "sensitivity"))
    assert mean["estimate"] == pytest.approx(np.mean([each["estimate"] for each in of_class]))
    assert mean["n"] == sum(each["n"] for each in of_class)
    counts = manifest().group_by("subtype").agg(pl.col("patient_id").n_unique()).rows()
    assert {each["target"]: each["n"] for each in of_class} == {k: n for k, n in counts if k in ("FTC", "MTC", "ATC")}


def test_a_variant_is_compared_over_the_seeds_that_both_have(runs: dict[str, Run]) -> None:
    both, lone = arm("full", one=runs["strong"], two=runs["again"]), arm("part", one=runs["weak"])
    alone = asdict(ablation_content([arm("full", one=runs["strong"]), lone], full="full"))
    content = asdict(ablation_content([both, lone], full="full"))
    assert content["variants"][1]["differences"] == alone["variants"][1]["differences"]
    assert content["variants"][0]["figures"] != alone["variants"][0]["figures"]
    nothing = asdict(ablation_content([arm("full"), lone], full="full"))["variants"]
    assert (nothing[1]["verdict"], nothing[1]["differences"]) == ("", [])


def test_runs_of_two_splits_are_refused(runs: dict[str, Run], tmp_path: Path) -> None:
    other = run_with(tmp_path / "other", WEAK)
    other.path("split.csv").write_text(other.path("split.csv").read_text() + "\n")
    other.finish("split", inputs=("manifest.parquet",), outputs=("split.csv",))
    with pytest.raises(MismatchError, match="have one split"):
        ablation_content([arm("full", one=runs["strong"]), arm("part", one=other)], full="full")


def test_the_mean_of_two_seeds_is_the_mean_of_their_probabilities() -> None:
    other = predictions(manifest(), CLASSES, seed=3).filter(pl.col("model") == "csasn")
    mean = mean_predictions([STRONG, other.sample(fraction=1, shuffle=True, seed=0)], CLASSES)
    keys = ["fold", "partition", "image_path"]
    for name in CLASSES.names:
        column = f"probability_{name}"
        expected = (STRONG.sort(keys)[column] + other.sort(keys)[column]) / 2
        np.testing.assert_allclose(mean.sort(keys)[column], expected)
    with pytest.raises(MismatchError, match="the same images"):
        mean_predictions([STRONG, other.head(20)], CLASSES)


def test_exchanging_patients_gives_the_exact_p() -> None:
    rng = np.random.default_rng(0)
    one, other = np.round(rng.random((2, 9)), 1)
    terms = one - other
    sums = np.abs([np.dot(signs, terms) for signs in product((-1, 1), repeat=9)])
    exact = np.mean(sums >= abs(terms.sum()) - 1e-12)
    assert exchanged_p(one, other, n_draws=40_000) == pytest.approx(exact, abs=0.01)
    assert exchanged_p(np.ones(2), np.zeros(2), n_draws=4000) == pytest.approx(0.5, abs=0.03)
    assert exchanged_p(one, one, n_draws=100) == 1


@pytest.mark.parametrize(("n", "expected"), [(7, 7), (99, 99), (101, 110), (1234, 1300), (120_000, 120_000)])
def test_numbers_of_patients_are_rounded_up(n: int, expected: int) -> None:
    assert rounded_up(n) == expected


def test_the_front_holds_what_nothing_beats() -> None:
    points = [(1.0, 0.6), (2.0, 0.8), (2.0, 0.7), (3.0, 0.8), (4.0, 0.9), (5.0, 0.5)]
    assert on_front(points) == [0, 1, 4]


def test_of_variants_that_cost_alike_the_best_is_named_beside_the_full_one() -> None:
    cost = {"cnn": (1.0, 0.6), "full": (4.0, 0.8), "lean": (3.9, 0.7), "best": (4.1, 0.9)}
    points = [(name, at, (quality, quality, quality)) for name, (at, quality) in cost.items()]
    front = on_front(list(cost.values()))
    assert front == [0, 1, 2, 3]
    assert [points[place][0] for place in named(points, front)] == ["cnn", "full", "best"]
