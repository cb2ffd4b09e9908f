"""What in the picture spoke for the answer, whether that is the nodule, and whether it was learned."""

from collections.abc import Sequence

from csasn.evidence.explanations import ANOTHER, EVERYONE, MEASURES, Alike, Explanations, OnNodule, ShownImage
from csasn.evidence.shown_maps import ShownMaps, shown_maps
from csasn.evidence.statistics.pointing import BASELINES
from csasn.report.blocks import Block, Picture, Pictures, Section, Table, Words
from csasn.report.evaluated_run import EvaluatedRun
from csasn.report.figures.explanations import cascade, on_nodule
from csasn.report.formatting import counted, ends_text, number, p_text, share
from csasn.report.overlay import overlay

NAMES = {"cnn": "CNN map", "vit": "ViT map", "fused": "Fused map", "random": "Random", "centre": "Centre"}
METHODS = {
    "cnn": "Grad-CAM of the convolutional branch",
    "vit": "attention relevance of the transformer",
    "fused": "Grad-CAM of the joint map",
}
TITLES = {
    "pointing": "Pointing game: largest value on the nodule, share of patients",
    "energy": "Energy: share of the map inside the nodule",
}
N_SHOWN = 6  # classes with pictures
BELOW = "branches"  # with this word begin the levels of the cascade that lie below the fused map
STAYS = "it STAYS MUCH THE SAME"


def explanations(evaluated: EvaluatedRun) -> Section | None:
    """The verdict and a sentence a map first, then the measures, the cascade and a strip of pictures a class."""
    found = evaluated.beyond("explanations.json", Explanations)
    if found is None:
        return None
    measured, alike = found.on_nodule, found.alike
    kinds = [kind for kind in METHODS if any(row.map == kind for row in measured)]
    alpha = 1 - evaluated.run.configuration.evaluate.confidence
    told = {kind: (where(kind, measured, alpha=alpha), learned(kind, alike, found.still_alike)) for kind in kinds}
    sentences = [f"{NAMES[kind]} ({METHODS[kind]}): {' '.join(each)}" for kind, each in told.items()]
    sentences += [f"{NAMES[kind]}: {why}." for kind, why in found.missing.items()]
    summary = verdict(kinds, measured, found, alpha=alpha)
    blocks: list[Block] = [Words(text=summary), Words(text=_made(found)), Words(items=tuple(sentences))]
    if found.n_images_with_nodule:
        blocks += [_table(measured, kinds), _drawing(evaluated, measured, kinds)]
    if alike:
        blocks.append(_cascade(evaluated, alike, found))
    blocks += [*_strips(evaluated, found), *_groups(measured, kinds)]
    limit = (
        "A map on the nodule is no proof that the nodule was read rightly, and a map beside it no proof that it was "
        "not: these maps are coarse summaries of a network with several paths, and none of them is a segmentation."
    )
    return Section(
        id="explanations",
        title="What in the picture spoke for the answer",
        short="Explanations",
        blocks=(*blocks, Words(text=limit, quiet=True)),
    )


def verdict(kinds: Sequence[str], measured: Sequence[OnNodule], found: Explanations, *, alpha: float) -> str:
    """Which maps point at the nodule beyond the better baseline, and which hardly depend on what was learned."""
    rows = [row for kind in kinds if (row := _of(measured, kind, "pointing")) is not None and row.p_holm is not None]
    beyond = [NAMES[row.map] for row in rows if _settled(row, alpha) and _points_more(row)]
    if not rows:
        text = "Not measurable whether the maps lie on the nodule: too few patients have a nodule in a mask."
    elif beyond:
        text = f"Points at the nodule more often than the better baseline: {', '.join(beyond)}."
    else:
        text = "No map is shown to point at the nodule more often than a point chosen without looking does."
    limit = found.still_alike
    stays = [NAMES[kind] for kind in kinds if (above := _above(kind, found.alike)) and _fate(above, limit) == STAYS]
    if stays:
        text += f" Hardly depends on what was learned above the branches, and explains no answer: {', '.join(stays)}."
    return text


def where(kind: str, measured: Sequence[OnNodule], *, alpha: float) -> str:
    """Whether a map points at the nodule more often than the better baseline does."""
    row = _of(measured, kind, "pointing")
    if row is None or row.estimate is None or row.against is None:
        return "whether it points at the nodule is not estimable."
    baseline = _of(measured, row.against, "pointing") or row
    told = f"difference {_difference(row)}, adjusted p {p_text(row.p_holm)}"
    if _settled(row, alpha):
        verdict = f"{'more' if _points_more(row) else 'LESS'} often ({told})"
    else:
        seen = number(row.detectable)
        verdict = f"cannot be told apart ({told}; {seen} would have shown in four of five such cohorts)"
    return (
        f"points at the nodule in {_percent(row)} of patients, {_baseline(row.against)} in {_percent(baseline)}: "
        f"{verdict}."
    )


def _settled(row: OnNodule, alpha: float) -> bool:
    """Whether a map was found to differ from the better baseline."""
    return row.p_holm is not None and row.p_holm <= alpha


def _points_more(row: OnNodule) -> bool:
    return row.difference is not None and row.difference > 0


def learned(kind: str, alike: Sequence[Alike], limit: float) -> str:
    """Whether a map changes when what was learned above the branches, and then everything, is dealt anew."""
    above = _above(kind, alike)
    if above is None or above.estimate is None:
        return "Whether it depends on the weights is not estimable."
    last = [row for row in alike if row.map == kind and row.randomised != ANOTHER][-1]
    return (
        f"With every weight above the branches dealt anew, {_fate(above, limit)}: rank correlation {share(above)}; "
        f"with all weights, {_fate(last, limit)}: {share(last)}."
    )


def _above(kind: str, alike: Sequence[Alike]) -> Alike | None:
    """The level at which everything above the branches was dealt anew."""
    levels = [row for row in alike if row.map == kind and row.randomised != ANOTHER]
    above = [row for row in levels if not row.randomised.startswith(BELOW)]
    return above[-1] if above else None


def _fate(row: Alike, limit: float) -> str:
    # without an interval every map gave the same figure, which then speaks for itself
    low, high = (row.estimate if end is None else end for end in (row.low, row.high))
    if low is None or high is None or low < limit <= high:
        return "whether it stays cannot be told"
    return STAYS if low >= limit else "little of it stays"


def _made(found: Explanations) -> str:
    flat = sum(found.n_flat.values())
    text = (
        f"Maps of what spoke for the most probable class, for {found.n_images:,} test images of "
        f"{found.n_patients:,} patients, drawn from every class in turn. {found.n_images_with_nodule:,} of them "
        f"have a nodule in a mask. A point counts as on the nodule up to {100 * found.tolerance_share:.1f} % of the "
        "side beside it (15 px of 224)."
    )
    if flat:
        text += f" Flat, as nothing spoke for the class, and pointing at random: {counted(flat, 'map')}."
    return text


def _table(measured: Sequence[OnNodule], kinds: list[str]) -> Table:
    return Table(
        name="explanations",
        caption="Maps and baselines against the nodule masks, means over patients; difference to the better baseline; "
        "p adjusted by Holm over all maps and both measures",
        head=("Map", "Patients", "Pointing", "Minus baseline", "p", "Energy", "Minus baseline", "p"),
        rows=[
            [
                NAMES[kind],
                f"{rows[0].n_patients:,}",
                *(cell for row in rows for cell in (share(row), _difference(row), p_text(row.p_holm))),
            ]
            for kind in (*kinds, *BASELINES)
            if (rows := [row for each in MEASURES if (row := _of(measured, kind, each)) is not None])
        ],
    )


def _groups(measured: Sequence[OnNodule], kinds: list[str]) -> list[Block]:
    rows = [row for row in measured if row.group != EVERYONE and row.map in kinds and row.n_patients]
    if not rows:
        return []
    table = Table(
        name="explanations-groups",
        caption="The same by group of images",
        head=("Group", "Map", "Measure", "Patients", "Images", "Reached", "Better baseline", "Minus it", "Note"),
        rows=[
            [
                *(row.group, NAMES[row.map], row.measure, f"{row.n_patients:,}", f"{row.n_images:,}"),
                *(share(row), "–" if row.against is None else NAMES[row.against], _difference(row), row.note),
            ]
            for row in rows
        ],
        folded=True,
    )
    return [table]


def _drawing(evaluated: EvaluatedRun, measured: Sequence[OnNodule], kinds: list[str]) -> Block:
    names = {name: NAMES[name] for name in (*kinds, *BASELINES)}
    return evaluated.drawing(
        "explanations",
        f"Maps and baselines against the nodule masks, per patient, with {evaluated.level} bootstrap intervals. "
        "Random: a uniform point and map; centre: the picture's central point and a Gaussian about it.",
        lambda: on_nodule(measured, TITLES, names),
    )


def _cascade(evaluated: EvaluatedRun, alike: Sequence[Alike], found: Explanations) -> Block:
    n = max(row.n_patients for row in alike)
    return evaluated.drawing(
        "explanations-cascade",
        f"What is left of each map when the weights are dealt anew from the head down, {n} patients, with "
        f"{evaluated.level} bootstrap intervals. A map that stays high shows the picture and not what was learned.",
        lambda: cascade(alike, NAMES, alike=found.still_alike),
    )


def _strips(evaluated: EvaluatedRun, found: Explanations) -> list[Block]:
    """For each class the picture in the middle of its class by energy, then its maps."""
    shown = found.shown[:N_SHOWN]
    maps = shown_maps(evaluated.run, [row.image_path for row in shown])
    words = (
        "One image a class, the one whose energy is in the middle of its class's: neither the best nor the worst. "
        "Blue: the nodule's outline. Bright: what spoke most for the class named, each map on its own scale."
    )
    strips = [_strip(evaluated, row, maps[row.image_path]) for row in shown]
    return [Words(text=words), *strips] if strips else []


def _strip(evaluated: EvaluatedRun, row: ShownImage, maps: ShownMaps) -> Pictures:
    root, name = evaluated.run.images_root(), row.image_path
    sha256 = evaluated.sha256_of(name)
    png, missing = overlay(root, name, None, maps.mask, maps.place, sha256)
    told = (f"named {row.target_class}", f"site {row.site}", f"patient {row.patient_id}")
    alt = f"Ultrasound image of patient {row.patient_id}"
    pictures = [Picture(png=png, missing=missing, title=row.reference, lines=told, alt=alt)]
    for kind in (kind for kind in METHODS if kind in maps.squares):
        png, missing = overlay(root, name, maps.squares[kind], maps.mask, maps.place, sha256)
        reached = row.reached.get(kind)
        lines = (_hit(reached.pointing), f"energy {reached.energy:.2f}") if reached else ("no nodule in a mask",)
        pictures.append(Picture(png=png, missing=missing, title=NAMES[kind], lines=lines, alt=f"{NAMES[kind]}; {alt}"))
    return Pictures(pictures=tuple(pictures))


def _hit(pointing: float) -> str:
    if 0 < pointing < 1:
        return "several largest values"
    return "points at the nodule" if pointing else "points beside the nodule"


def _of(measured: Sequence[OnNodule], kind: str, measure: str) -> OnNodule | None:
    wanted = (kind, EVERYONE, measure)
    return next((row for row in measured if (row.map, row.group, row.measure) == wanted), None)


def _difference(row: OnNodule) -> str:
    if row.difference is None:
        return "–"
    return ends_text(row.difference, row.difference_low, row.difference_high)


def _percent(row: OnNodule) -> str:
    return "–" if row.estimate is None else f"{100 * row.estimate:.0f} %"


def _baseline(name: str) -> str:
    return {"random": "a random point", "centre": "the picture's centre"}[name]
