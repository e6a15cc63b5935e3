"""The reference pages of the site, generated from the code: commands, Python, recipes."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import textwrap
from typing import Any

VERBS = {
    "Data": ("open_dataset", "open_context", "cache"),
    "Scores": ("score", "scorer", "Scores", "load_scores"),
    "Subsets": ("select", "Subset", "load_subset", "subset_from_ids", "subset_from_file"),
    "Training": ("teach", "train", "sweep", "advise", "write_report"),
    "Your own loop": ("record", "open_recording", "score_recording", "soft_labels", "SoftLabels", "KDLoss", "WeightSearch"),
    "Wrong labels and influence": (
        "find_label_issues", "load_label_issues", "find_label_issues_of_recording", "pred_probs", "influence",
        "load_influence",
    ),
    "Exchange": ("export", "diff"),
}  # fmt: skip
"""The names of `import datapruning as dp`, in the order of the page; those that are not named here come last."""
BESIDE = {
    "What the verbs take and give": (
        "data.dataset:Dataset", "data.dataset:Split", "runs.context:Context", "runs.run:FinishedRun",
        "utils.time_limit:TimeLimit",
        "analysis.advise.advise:Advice", "artifacts.label_issues:LabelIssues", "artifacts.label_issues:LabelIssue",
        "artifacts.influence:Influence", "report.write:ReportFiles",
    ),
    "What your own loop uses": (
        "training.distillation.weight_search:WeightDecision", "training.distillation.training_steps:TrainingSteps",
        "runs.training_records:Candidate",
        "evidence.recorder:Recorder", "evidence.external_loop:LoopRecorder", "evidence.recording:Recording",
        "data.augment.augmentation:Augmentation",
        "config.augmentation:AugmentPolicy", "config.augmentation:CutMixPolicy", "config.augmentation:MixupPolicy",
        "data.loaders.loader:Loader", "data.loaders.loader:Batch",
    ),
    "What scorers and strategies read": (
        "evidence.dynamics:TrainingDynamics", "evidence.dynamics:FinalEvaluation", "evidence.dynamics:EarlyEvaluation",
        "evidence.embeddings:Embeddings", "evidence.gradients:Gradients", "evidence.ensemble:SubsetEnsemble",
        "selection.strategy:Pool",
    ),
}  # fmt: skip
"""Classes that users meet without importing them from `datapruning`: module and name."""


class Bare(str):
    """An annotation that is printed without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def command_page() -> str:
    """Return the page of every command with its help and all options."""
    import typer.main

    from datapruning.cli.main import app

    command = typer.main.get_command(app)
    lines = ["# Command line", "", str(command.help), ""]
    lines += ["Exit codes: 0 done; 2 a mistake in what was given, said in one line; 3 stopped by `--max-seconds`;"]
    lines += ["130 interrupted; 1 anything else. After 3 and 130 the same command goes on.", ""]
    for name, verb in command.commands.items():  # type: ignore[attr-defined]
        context = verb.make_context(name, [], resilient_parsing=True)
        text, _, example = inspect.cleandoc(verb.help).rpartition("Example: ")
        pieces = " ".join(piece.strip("{}").upper() if piece.startswith("{") else piece for piece in usage(verb, context))
        lines += [f"## dprune {name}", "", f"`dprune {name} {pieces}`", "", text, "", f"```\n{example}\n```", ""]
        lines += ["| option | meaning | default |", "|---|---|---|"]
        help_records = [parameter.get_help_record(context) for parameter in verb.get_params(context)]
        lines += [option_row(*record) for record in help_records if record]
        lines += [""]
    return "\n".join(lines)


def usage(verb: Any, context: Any) -> list[str]:
    """Return the usage line after the command's name."""
    return [str(piece) for piece in verb.collect_usage_pieces(context)]


def option_row(head: str, words: str) -> str:
    """Return a row of the table of options, as in `--help`."""
    words, _, default = words.partition("  [default: ")
    default, _, bounds = default.removesuffix("]").partition("; ")
    if words.endswith("[required]"):
        words, default = words.removesuffix("[required]"), "required"
    if default.startswith("(") and default.endswith(")"):
        default = default[1:-1]
    return f"| `{head}` | {in_cell(words + (f' ({bounds})' if bounds else ''))} | {in_cell(default)} |"


def in_cell(words: str) -> str:
    """Escape text for a cell of a Markdown table."""
    return re.sub(r"[][*_<>|`]", lambda match: f"&#{ord(match.group())};", " ".join(words.split()))


def api_page() -> str:
    """Return the page of everything in `datapruning.__all__`, the public classes, and the errors."""
    import datapruning as dp

    exported = [name for name in dp.__all__ if name not in ("__version__", "DataPruningError", "UserError")]
    sorted_in = [name for names in VERBS.values() for name in names]
    rest = tuple(name for name in exported if name not in sorted_in)
    lines = ["# Python", "", "Everything in the first sections is `import datapruning as dp`, `dp.NAME`.", ""]
    for title, names in (VERBS | ({"More": rest} if rest else {})).items():
        lines += [f"## {title}", ""]
        for name in names:
            lines += described(name, getattr(dp, name), f"dp.{name}")
    for title, members in BESIDE.items():
        lines += [f"## {title}", ""]
        for member in members:
            module, _, name = member.partition(":")
            value = getattr(importlib.import_module(f"datapruning.{module}"), name)
            lines += described(name, value, f"datapruning.{module}.{name}")
    lines += ["## Errors", "", "```text", inspect.getdoc(importlib.import_module("datapruning.errors")) or "", "```", ""]
    return "\n".join(lines)


def described(name: str, thing: Any, full_name: str) -> list[str]:
    """Return a section about a function or a class."""
    if not isinstance(thing, type):
        return [f"### {name}", "", *signed(full_name, thing), *prose(thing), ""]
    fields = [f.name for f in dataclasses.fields(thing)] if dataclasses.is_dataclass(thing) else []
    shown = [*signed(full_name, thing), *prose(thing)]
    members = [(n, m) for n, m in vars(thing).items() if (not n.startswith("_") or n == "__getitem__") and n not in fields]
    for member, value in members:
        value = getattr(value, "func", value)  # a cached property
        if isinstance(value, property) or (inspect.isfunction(value) and not inspect.isfunction(vars(thing)[member])):
            shown += ["", f"#### {name}.{member}", "", *prose(value)]
        elif isinstance(value, classmethod | staticmethod) or inspect.isfunction(value):
            function = getattr(value, "__func__", value)
            shown += ["", f"#### {name}.{member}", "", *signed(member, function), *prose(function)]
    return [f"### {name}", "", *shown, ""]


def signed(name: str, thing: Any) -> list[str]:
    """Return the signature as Python code, one parameter per line if it is long."""
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return []
    kept = [p.replace(annotation=bare(p.annotation)) for p in signature.parameters.values() if p.name != "self"]
    signature = signature.replace(parameters=kept, return_annotation=bare(signature.return_annotation))
    text = f"{name}{signature}"
    if len(text) > 88 and kept:
        inner, star = [], False
        for parameter in kept:
            if parameter.kind is parameter.KEYWORD_ONLY and not star:
                inner.append("    *,")
                star = True
            inner.append(f"    {parameter},")
        text = "\n".join([f"{name}(", *inner, str(signature.replace(parameters=[]))[1:]])
    return ["```python", text, "```", ""]


def bare(annotation: Any) -> Any:
    """Print annotations, which are strings, as they are written."""
    return Bare(annotation) if isinstance(annotation, str) else annotation


def prose(thing: Any) -> list[str]:
    """Convert a docstring to Markdown: sections such as `Args:` become lists."""
    lines = (inspect.getdoc(thing) or "").splitlines()
    shown: list[str] = []
    k = 0
    while k < len(lines):
        head = re.fullmatch(r"(Args|Arguments|Attributes|Raises|Returns|Yields):", lines[k])
        if not head:
            shown.append(lines[k])
            k += 1
            continue
        block: list[str] = []
        k += 1
        while k < len(lines) and (lines[k].startswith(" ") or (not lines[k] and block)):
            block.append(lines[k])
            k += 1
        shown += ["", f"**{head.group(1)}**", "", *entries(textwrap.dedent("\n".join(block))), ""]
    return shown


def entries(block: str) -> list[str]:
    """Convert `name: text` entries, each with the lines indented below it, to a list."""
    joined = re.sub(r"\n +", " ", block.strip())
    items = []
    for line in filter(None, joined.splitlines()):
        name = re.match(r"([A-Za-z_][\w, *]*): ", line)
        items.append(f"- `{name.group(1)}`: {line[name.end() :]}" if name else f"- {line}")
    return items


def recipe_page() -> str:
    """Return the page of all recipes of the package."""
    from datapruning import recipes

    lines = ["# Recipes", ""]
    lines += ["Settings, one file a dataset. `dprune recipes copy NAME` gives one to change, `dprune check FILE` looks it"]
    lines += ["over, `--recipe FILE` uses it, and `--set table.key=value` changes a single setting.", ""]
    for path in sorted(recipes.FOLDER.glob("*.toml")):
        lines += [f"## {path.stem}", "", "```toml", path.read_text(encoding="utf-8").strip(), "```", ""]
    return "\n".join(lines)
