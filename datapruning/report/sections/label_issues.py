"""Pictures of samples whose label is likely wrong, with their label and the one that the networks suggest."""

from __future__ import annotations

from datapruning.artifacts.label_issues import LabelIssues
from datapruning.data.dataset import Dataset
from datapruning.report.comparison import Inputs
from datapruning.report.html import Markup, Section, join, paragraph, tag
from datapruning.report.sections.gallery import gallery, picture

MOST = 18
"""Pictures of a list in the report."""
TITLE = "Likely wrong labels"


def section(inputs: Inputs) -> Section | None:
    """The first of every list; None where there is none."""
    if not inputs.label_issues:
        return None
    if inputs.data is None:
        text = f"Their pictures cannot be shown: {inputs.no_data}."
        return Section("label-issues", TITLE, paragraph(text, class_="warn"))
    parts = [paragraph(*words(), class_="note")]
    for file in inputs.label_issues:
        where = paragraph("All of them: ", tag("code", inputs.shown(file.path)), ".", class_="note")
        parts += [tag("h3", file.label_issues.order), *pictures(file.label_issues, inputs.data, MOST), where]
    return Section("label-issues", TITLE, join(parts))


def words() -> list[object]:
    """What a list of label issues is, and how a picture is to be read."""
    return [
        "A ranking, no verdict: it lists as many as were asked for, however many labels are wrong. Under each picture: "
        "the label, the class that the networks find likeliest among the others, the probability of the label where it is "
        "known, the score, the sample id, and the path of a picture that is a file."
    ]


def pictures(label_issues: LabelIssues, data: Dataset, most: int) -> list[Markup]:
    """The first `most` of a list, and what is behind its order."""
    meta, shown = label_issues.meta, label_issues.rows[:most]
    seen = f" The label's probability: {meta['label_prob']}." if meta.get("label_prob") else ""
    items = []
    for row in shown:
        said: list[object] = []
        if row.suggested is not None:
            said = [tag("span", f"rather {row.suggested_name}", class_="differs"), Markup("<br>")]
        lines = [] if row.label_prob is None else [f"label {100 * row.label_prob:.0f}%"]
        lines += [f"score {row.score:.3g}".replace("-", "\N{MINUS SIGN}"), f"id {row.id}"]
        lines += [] if data.train_paths is None else [data.train_paths[row.id]]
        note = tag("span", join(lines, "<br>"), class_="muted")
        items.append(picture(row.id, data, *said, note))
    which = f"The first {len(shown)} of {len(label_issues)}" if len(shown) < len(label_issues) else f"All {len(shown)}"
    return [paragraph(f"{which}: {meta.get('means', '')}.{seen}", class_="above"), gallery(items, data)]
