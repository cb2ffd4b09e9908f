"""How it does at each site, and whether the site was new to the model."""

from csasn.evidence.aggregation import MAIN_MODEL
from csasn.report.blocks import Section, Table, Words
from csasn.report.figures.forest import by_site
from csasn.report.material import Material
from csasn.report.records import with_interval

SHOWN = (("all", "macro_auroc"), ("all", "balanced_accuracy"), ("malignancy", "auroc"))
UNSEEN = {
    True: "Each site below was read by a model that had not seen any patient of it. This is the figure to expect at a "
    "new hospital with a like mix of patients; one with other scanners or patients may differ more.",
    False: "Patients of each site below also stood in training, so this table does not tell how the model reads at a "
    "site that it has never seen. Run the same cohort with --scheme leave-one-site-out for that.",
}


def sites(material: Material) -> Section | None:
    """Table and forest plot by site; nothing where the cohort has one site."""
    names = sorted({key[1] for key in material.records if key[0] == MAIN_MODEL} - {"all"})
    if not names:
        return None
    unseen = material.run.configuration.split.scheme == "leave-one-site-out"
    table = Table(
        name="sites",
        caption="By site, per patient; bootstrap intervals over patients",
        head=("Site", "Patients", "Macro AUROC", "Balanced accuracy", "Malignancy AUROC", "Note"),
        rows=[_row(material, name) for name in (*names, "all")],
        wide=frozenset({5}),
    )
    drawing = material.drawing(
        "sites",
        f"AUROC by site, per patient, with {material.level} bootstrap intervals; the last row pools the sites.",
        lambda: by_site(material.records, names),
    )
    return Section(
        id="sites",
        title="How it reads at sites that it has not seen" if unseen else "How it reads at each site",
        short="Unseen sites" if unseen else "Sites",
        blocks=(Words(text=UNSEEN[unseen]), drawing, table),
    )


def _row(material: Material, site: str) -> list[str]:
    found = [material.records.get((MAIN_MODEL, site, "patient", *each)) for each in SHOWN]
    n, note = (found[0].n, found[0].note) if found[0] else (0, "")
    return ["all sites" if site == "all" else site, f"{n:,}", *(with_interval(each) for each in found), note]
