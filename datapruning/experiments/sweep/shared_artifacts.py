"""What the rows of a sweep share: made once, before the first row, by one process; another one waits for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from datapruning.artifacts.scorer import Samples, Scorer
from datapruning.errors import IncompatibleInputs, InvalidValue
from datapruning.evidence.estimate import planned_evidence
from datapruning.io.trial_store import Config, Row
from datapruning.runs.context import Context
from datapruning.scorers import get_scorer
from datapruning.teachers.prepare import load_teachers
from datapruning.training.schedules import planned_samples

SCORE_SEED = 0
"""Scores from evidence are made once, with this seed, for students of every seed. Scorers that need none draw anew."""
HASH_LENGTH = 16


def needs_evidence(scorer: Scorer) -> bool:
    """Whether a scorer reads more than the number of samples and a seed."""
    return scorer.needs is not Samples


def find_scorers(names: Iterable[str]) -> dict[str, Scorer]:
    """The scorers of these names.

    Raises:
        UnknownName: there is none of that name; the nearest is named.
    """
    return {name: get_scorer(name) for name in names}


def check_evidence(context: Context, scorers: Mapping[str, Scorer]) -> None:
    """What would be refused only after the teacher's training.

    Raises:
        InvalidValue: evidence that the proxies' training does not give.
    """
    early, epochs = context.recipe.evidence.early_epoch, context.recipe.proxy.epochs
    if early > epochs and any(needs_evidence(scorer) for scorer in scorers.values()):
        raise InvalidValue(f"evidence.early_epoch is {early}, but the proxy trains for {epochs} epochs (proxy.epochs)")


def name_teachers(context: Context, folders: Sequence[Path]) -> dict[str, tuple[str, Path]]:
    """Teachers by the hash of their weights: what to call each, and where its run folder lies.

    Raises:
        InvalidFile, IncompatibleInputs: one that is no finished run on this data. InvalidValue: the same network twice.
    """
    found: dict[str, tuple[str, Path]] = {}
    for teacher in load_teachers(context, folders):
        key = teacher.weights_hash[:HASH_LENGTH]
        if key in found:
            raise InvalidValue(f"teachers {found[key][1]} and {teacher.folder} are the same network; leave one out")
        taken = {name for name, _ in found.values()}
        name = teacher.folder.resolve().name
        found[key] = (name if name not in taken else str(teacher.folder), teacher.folder.resolve())
    return found


def shared_work(context: Context, configs: Sequence[Config], scorers: Mapping[str, Scorer]) -> list[str]:
    """What these rows share, in words, with the samples it takes to train where it is not there yet."""
    recipe, total = context.recipe, context.data.total
    lines = []
    readers = [name for name in scorer_names(configs) if needs_evidence(scorers[name])]
    if readers:
        networks, samples = planned_evidence(context, [scorers[name] for name in readers])
        lines.append(f"evidence of {', '.join(readers)} ({networks}, {samples:,} samples)")
    if taught_by_the_recipe(configs):
        lines.append(f"the recipe's teacher ({planned_samples(recipe.teacher, total, total):,} samples)")
    return lines


def prepare(context: Context, configs: Sequence[Config], scorers: Mapping[str, Scorer], done: Sequence[Row]) -> None:
    """Make, or find, the FFCV cache, the evidence and the recipe's teacher, as far as these rows need them.

    The soft labels are filled by the rows themselves, as far as each needs them and nobody has filled them. Where another
    process makes one of these just now, this one waits for it.

    Args:
        context: of this process.
        configs: rows that are left.
        scorers: by name.
        done: rows that are finished: the recipe's teacher must be the one that taught them.

    Raises:
        IncompatibleInputs: it is another network.
    """
    from datapruning.api.cache import cache
    from datapruning.api.score import score, scores_place
    from datapruning.api.teach import teach

    if context.loader == "ffcv":
        cache(context)
    for name in scorer_names(configs):
        if needs_evidence(scorers[name]):
            score(context, name, seed=SCORE_SEED, out=scores_place(context, name, SCORE_SEED))
    if taught_by_the_recipe(configs):
        teach(context)
        check_same_teacher(context, done)


def check_same_teacher(context: Context, done: Iterable[Row]) -> None:
    """Rows that name no teacher were taught by the recipe's, which lies in the workspace: it must still be that network.

    Raises:
        IncompatibleInputs: it was trained anew (with other threads, in another workspace), and came out as another one.
    """
    from datapruning.api.teach import teach

    taught = [row for row in done if taught_by_the_recipe([row.config])]
    if not taught:
        return
    here = teach(context).folder
    (key,) = name_teachers(context, [here])
    for row in taught:
        for teacher in row.result.get("teacher", ()):
            if not teacher["weights"].startswith(key):
                raise IncompatibleInputs(
                    f"{here} is another network than the teacher of the rows that are done ({teacher['folder']}); "
                    "name the workspace that holds that one, or another --out"
                )


def scorer_names(configs: Sequence[Config]) -> list[str]:
    """The scorers that rows name, each once."""
    return list(dict.fromkeys(c["scorer"] for c in configs if c["scorer"] is not None))


def taught_by_the_recipe(configs: Iterable[Config]) -> bool:
    """Whether any of these rows needs the recipe's own teacher."""
    return any(c["kd_weight"] != 0 and c["teacher"] is None for c in configs)
