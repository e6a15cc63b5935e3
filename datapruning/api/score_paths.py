"""Where scores are written, and where those that exist already are found."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from datapruning.artifacts.save import out_path
from datapruning.artifacts.scores import load_scores
from datapruning.errors import InvalidValue, OutputExists
from datapruning.evidence.ensemble import SubsetEnsemble
from datapruning.evidence.own_embeddings import OwnEmbeddings
from datapruning.runs.context import Context
from datapruning.scorers import get_scorer
from datapruning.utils.console import info


def resolve_score_paths(
    default: Callable[[str], Path], scorers: Sequence[str], out: str | Path | None = None
) -> dict[str, Path]:
    """The file of each scorer's scores.

    Args:
        default: gives the path where `out` is None.
        scorers: names.
        out: a file if it ends in .npz, else a folder.

    Raises:
        InvalidValue: one file for several scorers. OutputExists: a file that holds scores of another scorer.
    """
    if out is not None and Path(out).suffix == ".npz" and len(scorers) > 1:
        raise InvalidValue(f"{out} is one file, but {len(scorers)} scorers write one each; name a folder", parameter="out")
    paths = {}
    for name in scorers:
        path = paths[name] = default(name) if out is None else out_path(out, f"{name}.npz")
        if path.exists() and load_scores(path).scorer != name:  # before evidence is made for it
            raise OutputExists(f"{path} holds scores of another scorer; name another output", parameter="out")
    return paths


def scores_path(context: Context, scorer: str, seed: int, embeddings: OwnEmbeddings | None = None) -> Path:
    """Where a scorer's scores lie in the workspace; of `embeddings`, those of the content that they were made from.

    Raises:
        UnknownName: no such scorer.
    """
    recipe = context.recipe
    if embeddings is not None:
        identity = {"embeddings": embeddings.record.sha256, "seed": seed, **context.numerics_key.to_json()}
        return context.artifact_path("scores", scorer, identity).with_suffix(".npz")
    settings: dict[str, Any] = {
        **recipe.identity("proxy", "evidence", "views"), "seed": seed, **context.numerics_key.to_json(),
        **context.init_identity("proxy"),
    }  # fmt: skip
    if get_scorer(scorer).needs is SubsetEnsemble:
        settings |= recipe.identity("ensemble", "ensemble_member")
    return context.artifact_path("scores", scorer, settings).with_suffix(".npz")


def find_reused_scores(context: Context, scorer: str, seed: int, embeddings: OwnEmbeddings | None = None) -> Path | None:
    """The file of the scores that a workspace to reuse has, and the own one has not; None: there is none.

    Raises:
        UnknownName: no such scorer.
    """
    if not context.reuse:
        return None
    workspace_path = scores_path(context, scorer, seed, embeddings)
    path = context.find_artifact(workspace_path)
    if path == workspace_path:
        return None
    info(f"scores: using {path}")
    return path
