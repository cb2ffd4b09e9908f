"""TRIPOD+AI and CLAIM 2024, filled from the run; what no run can know is marked for the authors.

The items are named in short words of our own: the wording of the published checklists is the one that counts
(TRIPOD+AI: Collins 2024, BMJ 385:e078378; CLAIM: Tejani 2024, Radiology: Artificial Intelligence 6:e240300).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from csasn.report.facts import AUTHORS, Facts

Fill = Callable[[Facts], str]
Checklist = Literal["tripod-ai", "claim-2024"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One item of a checklist: its number, its matter, and how a run fills it."""

    number: str
    matter: str
    fill: Fill


def _authors(what: str) -> Fill:
    return lambda _: f"{AUTHORS}: {what}."


def _items(rows: Mapping[str, tuple[str, Fill]]) -> tuple[Item, ...]:
    return tuple(Item(number=number, matter=matter, fill=fill) for number, (matter, fill) in rows.items())


TRIPOD_AI = _items(
    {
        "1": ("Title names the model, the population and the outcome", _authors("title")),
        "2": ("Abstract by TRIPOD+AI for abstracts", _authors("abstract; the headline of report.html is its result")),
        "3a": ("Healthcare context and rationale, existing models", _authors("context")),
        "3b": ("Target population, purpose in the care pathway, intended users", _authors("intended use")),
        "3c": ("Known health inequalities between groups", _authors("inequalities")),
        "4": ("Objectives: development, evaluation or both", Facts.objectives),
        "5a": ("Sources of data, and whether they represent the target population", Facts.sources),
        "5b": ("Dates of collection", _authors("dates; identifiers and dates do not enter a cohort")),
        "6a": ("Setting, number and places of centres", Facts.centres),
        "6b": ("Eligibility criteria", _authors("clinical criteria; the technical ones are in item 7")),
        "6c": ("Treatments received", _authors("treatments")),
        "7": ("Preparation and quality checks of the data", Facts.preparation),
        "8a": ("Outcome: what, when and how determined", Facts.outcome),
        "8b": ("Who assessed the outcome, where judgement was needed", _authors("assessors of the reference standard")),
        "8c": ("Blinding of that assessment", _authors("blinding")),
        "9a": ("Choice of the first predictors", Facts.predictors),
        "9b": ("Definition of all predictors, how and when measured", Facts.acquisition),
        "9c": ("Who judged predictors, where judgement was needed", Facts.no_judgement),
        "10": ("Sample size and its reason", Facts.size),
        "11": ("Missing data", Facts.missing),
        "12a": ("How the data were divided and used", Facts.partitions),
        "12b": ("Handling of predictors", Facts.preparation),
        "12c": ("Model type, building, tuning and internal validation", Facts.model),
        "12d": ("Differences between clusters", Facts.clusters),
        "12e": ("Measures of performance", Facts.measures),
        "12f": ("Updating of the model", Facts.no_updating),
        "12g": ("How predictions were computed for the evaluation", Facts.predictions),
        "13": ("Class imbalance", Facts.imbalance),
        "14": ("Fairness", Facts.fairness),
        "15": ("Output of the model, thresholds", Facts.output),
        "16": ("Differences between development and evaluation data", Facts.differences),
        "17": ("Ethical approval and consent", _authors("ethics")),
        "18a": ("Funding", _authors("funding")),
        "18b": ("Conflicts of interest", _authors("conflicts")),
        "18c": ("Protocol", _authors("protocol")),
        "18d": ("Registration", _authors("registration")),
        "18e": ("Availability of the data", _authors("data")),
        "18f": ("Availability of the code", Facts.code),
        "19": ("Involvement of patients and the public", _authors("involvement")),
        "20a": ("Flow of participants", Facts.flow),
        "20b": ("Characteristics overall and by source", Facts.characteristics),
        "20c": ("Development beside evaluation data", Facts.differences),
        "21": ("Participants and events in each analysis", Facts.events),
        "22": ("The full model, so that others can predict with it", Facts.full_model),
        "23a": ("Performance with intervals, also for subgroups", Facts.performance),
        "23b": ("Differences of performance between clusters", Facts.clusters),
        "24": ("Results of updating", Facts.no_updating),
        "25": ("Interpretation, with fairness", _authors("interpretation")),
        "26": ("Limitations", Facts.limitations),
        "27a": ("Poor or missing input when used", Facts.poor_input),
        "27b": ("What users must do and know", _authors("interaction of users")),
        "27c": ("Next steps, applicability and generalisability", _authors("next steps")),
    }
)

CLAIM_2024 = _items(
    {
        "1": ("Title or abstract names the technology", _authors("title: deep learning, see item 22")),
        "2": ("Summary of design, methods, results, conclusions", _authors("abstract; the headline is its result")),
        "3": ("Background, intended use and role", _authors("background")),
        "4": ("Aims, objectives, hypotheses", Facts.objectives),
        "5": ("Prospective or retrospective", Facts.retrospective),
        "6": ("Goal of the study", Facts.objectives),
        "7": ("Sources of data", Facts.sources),
        "8": ("Inclusion and exclusion", Facts.flow),
        "9": ("Preprocessing", Facts.preparation),
        "10": ("Selection of subsets of the data", Facts.selection),
        "11": ("De-identification", Facts.deidentification),
        "12": ("Missing data", Facts.missing),
        "13": ("Image acquisition", Facts.acquisition),
        "14": ("How the reference standard was obtained", Facts.outcome),
        "15": ("Why this reference standard", _authors("rationale of the reference standard")),
        "16": ("Who annotated", _authors("annotators")),
        "17": ("Annotation of the test set", _authors("annotation of the test set")),
        "18": ("Variability between and within annotators", _authors("variability")),
        "19": ("How data were dealt into partitions", Facts.partitions),
        "20": ("The level at which partitions are disjoint", Facts.disjoint),
        "21": ("Intended size of the test data", Facts.size),
        "22": ("The model in detail", Facts.model),
        "23": ("Software libraries", Facts.software),
        "24": ("Initial parameters", Facts.initial_weights),
        "25": ("Training", Facts.training),
        "26": ("How the final model was chosen", Facts.selection_of_model),
        "27": ("Ensembles", Facts.ensembles),
        "28": ("Measures of performance", Facts.measures),
        "29": ("Significance and uncertainty", Facts.uncertainty),
        "30": ("Robustness or sensitivity analysis", Facts.robustness),
        "31": ("Explanations", Facts.explanations),
        "32": ("Evaluation on internal data", Facts.internal),
        "33": ("Testing on external data", Facts.external),
        "34": ("Registration of a trial", _authors("registration")),
        "35": ("Numbers included and excluded", Facts.flow),
        "36": ("Characteristics in each partition", Facts.characteristics),
        "37": ("Performance and its uncertainty", Facts.performance),
        "38": ("Diagnostic performance and its precision", Facts.performance),
        "39": ("Analysis of failures", Facts.failures),
        "40": ("Limitations", Facts.limitations),
        "41": ("Implications for practice", _authors("implications")),
        "42": ("Protocol or technical details", Facts.full_model),
        "43": ("Availability of software, model and data", Facts.code),
        "44": ("Funding and its role", _authors("funding")),
    }
)
CHECKLISTS: Mapping[Checklist, tuple[str, tuple[Item, ...]]] = {
    "tripod-ai": ("TRIPOD+AI (Collins 2024, BMJ 385:e078378)", TRIPOD_AI),
    "claim-2024": ("CLAIM 2024 (Tejani 2024, Radiology: Artificial Intelligence 6:e240300)", CLAIM_2024),
}


def checklist(name: Checklist, facts: Facts) -> str:
    """The checklist as Markdown: number, matter, and what the run says of it."""
    title, items = CHECKLISTS[name]
    rows = [(item.number, item.matter, item.fill(facts)) for item in items]
    n_open = sum(answer.startswith(AUTHORS) for _, _, answer in rows)
    lines = [
        f"# {title}, filled from a run of CSASN",
        "",
        f"{facts.stamp}{len(rows) - n_open} of {len(rows)} items were filled from the run; {n_open} are for the "
        "authors. The items are named in short words: the published wording is the one that counts. What was filled "
        "says what the software did and found; the authors answer for it.",
        "",
        "| item | what | where or what |",
        "|---|---|---|",
        *(f"| {' | '.join(_cell(each) for each in row)} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
