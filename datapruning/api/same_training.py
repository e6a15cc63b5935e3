"""A student on all the data with labels alone is a teacher: where that was trained already, it is not trained again."""

from __future__ import annotations

import numpy as np

from datapruning.api.student_request import StudentRequest
from datapruning.runs.metrics import read_metrics
from datapruning.runs.result import StudentMetadata, StudentResult, TeacherResult, TrainedResult
from datapruning.runs.run import METRICS, RESULT, FinishedRun, Run
from datapruning.utils.console import info
from datapruning.utils.processes import agree, num_processes


def find_same_teacher(request: StudentRequest) -> FinishedRun[TeacherResult] | None:
    """The finished teacher in the workspace whose training the student's would repeat bit by bit; None: there is none.

    The same are samples, settings, views, initial weights, seed, threads, kind of device and number of processes.
    """
    context = request.context
    recipe, ids = context.recipe, context.data.valid_ids
    is_same = (
        request.kd_weight == 0
        and recipe.train == recipe.teacher.training
        and not (recipe.cutmix.enabled or recipe.mixup.enabled or recipe.self_distill.enabled or recipe.sparsity.sparsity)
        and context.init_identity("student") == context.init_identity("teacher")
        and np.array_equal(request.subset.indices, ids)
    )
    if not is_same:
        return None
    from datapruning.teachers.train import teacher_folder

    folder = teacher_folder(context, request.seed)
    if not agree((folder / RESULT).exists()):
        return None
    result = TeacherResult.read(folder / RESULT)
    made_with = result.threads, result.device.partition(":")[0], result.processes
    return FinishedRun(folder, result) if made_with == (context.threads, context.device.type, num_processes()) else None


def adopt_teacher(
    request: StudentRequest, run: Run, teacher: FinishedRun[TeacherResult], metadata: StudentMetadata
) -> FinishedRun[StudentResult]:
    """Write the student's run with the network, the metrics and the costs of the teacher."""
    from datapruning.teachers.load import load_teacher

    context = request.context
    model = load_teacher(teacher.folder, context.data, context.device, context.shape).model
    info(
        f"student: {teacher.folder} is the same training (all samples, labels alone, these settings and seed): not repeated"
    )
    fields = {key: value for key, value in teacher.result if key in TrainedResult.model_fields}
    trained = TrainedResult(**{**fields, "role": "student"})
    history = read_metrics(teacher.folder / METRICS)
    return run.finish(model, context.describe_model(trained.model), history, metadata.complete(trained))
