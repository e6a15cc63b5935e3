"""Use a colleague's workspace that may not be written: teacher, soft labels, scores, whatever is finished in it.

What is missing there, such as the soft labels of samples that the colleague's students did not see, is made in one's own
workspace. `dprune train --reuse colleague --workspace my-workspace` does the same.
"""

from pathlib import Path

import datapruning as dp

SETTINGS = ("teacher.epochs=4", "train.epochs=4")
colleague, workspace = Path("colleague"), Path("my-workspace")
if not colleague.exists():
    other_context = dp.open_context(dp.open_dataset("digits"), changes=SETTINGS, workspace=colleague)
    dp.train(other_context, fraction=0.1, kd_weight=0.5)
    for path in (colleague, *colleague.rglob("*")):
        path.chmod(path.stat().st_mode & 0o555)

context = dp.open_context(dp.open_dataset("digits"), changes=SETTINGS, workspace=workspace, reuse=[colleague])
student = dp.train(context, fraction=0.3, kd_weight=0.5)
(teacher,) = student.result.teacher
print(f"teacher {teacher.folder}, student {student.folder}, {student.test_accuracy:.1f}%")
print(f"soft labels that were missing: {student.result.soft_labels_computed:,}")
