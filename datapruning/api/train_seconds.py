"""How long students take, with everything that is made for them first."""

from datapruning.api.student_request import StudentRequest
from datapruning.evidence.collect import evidence_seconds
from datapruning.runs.context import Context
from datapruning.runs.run import RESULT
from datapruning.scorers import get_scorer
from datapruning.utils.fraction import kept_count
from datapruning.utils.processes import agree


def request_seconds(request: StudentRequest) -> dict[str, float]:
    """Seconds of each part of the work that a student still needs; evidence is being recorded where it has no subset yet."""
    from datapruning.training.distillation.run_search import PREFIX, PREFIX_PROGRESS
    from datapruning.training.schedules import planned_epochs
    from datapruning.training.speed import share_left

    context, selection, total = request.context, request.selection, request.context.data.total
    parts: dict[str, float] = {}
    if request.has_subset:
        kept, run = len(request.subset), request.new_run()
        paths = [run.checkpoint_path(), *map(run.checkpoint_path, (PREFIX, PREFIX_PROGRESS))]
        left = share_left(paths, context.recipe.train, kept, total)
    else:
        assert selection.fraction is not None
        kept, left = kept_count(selection.fraction, total), 1.0
        parts |= evidence_seconds(context, [get_scorer(selection.scorer or "random")], request.seed)
    if request.kd_weight != 0:
        from datapruning.teachers.prepare import candidate_models, load_teachers, missing_labels
        from datapruning.teachers.train import teacher_folder, teacher_seconds

        teachers, models = request.teachers, [teacher.result.model for teacher in request.teachers]
        if not teachers:
            models = list(candidate_models(context) if request.choose_teacher else [context.recipe.teacher.model])
            parts["teacher"] = sum(teacher_seconds(context, 0, model=model) for model in models)
            folders = [teacher_folder(context, 0, model) for model in models]
            teachers = (
                load_teachers(context, folders) if agree(all((folder / RESULT).exists() for folder in folders)) else []
            )
        epochs = range(planned_epochs(context.recipe.train, kept, total))
        count = len(models) * kept * min(context.recipe.views.num_views, len(epochs))
        if teachers and request.has_subset:
            ids = request.subset.indices
            count = sum(missing_labels(context.for_subset(ids), teacher, ids, epochs) for teacher in teachers)
        parts["soft labels"] = label_seconds(context, models[0], count)
    return parts | student_seconds(context, kept, request.kd_weight, left)


def label_seconds(context: Context, model: str, count: int) -> float:
    """Seconds of so many soft labels by a teacher's network."""
    from datapruning.training.speed import forward_seconds

    return forward_seconds(context, context.recipe.teacher.training.replace(model=model), count)


def student_seconds(context: Context, kept: int, kd_weight: float | None, left: float = 1.0) -> dict[str, float]:
    """Seconds of the training of a student, of which the share `left` is to be done, and of the search for its KD weight.

    `kd_weight`: None where it is searched.
    """
    from datapruning.training.distillation.validation import search_cost
    from datapruning.training.schedules import planned_samples
    from datapruning.training.speed import forward_seconds, training_seconds

    recipe, data = context.recipe, context.data
    training = (
        training_seconds(context, recipe.train, kept, data.total, is_taught=kd_weight != 0) * recipe.self_distill.compute
    )
    parts = {"student": left * training + forward_seconds(context, recipe.train, len(data.test))}
    if kd_weight is None:
        parts["search"] = (
            left * training * search_cost(recipe.kd.search_budget, planned_samples(recipe.train, kept, data.total))
        )
    if recipe.self_distill.method == "tf-kd-self":
        parts["self teacher"] = parts["student"]
    return parts
