"""Teachers: networks that are trained on all the data, and the cache of their soft labels."""

from datapruning.teachers.load import Teacher, load_teacher
from datapruning.teachers.soft_labels import SoftLabelCache, TeacherLabels

__all__ = ["SoftLabelCache", "Teacher", "TeacherLabels", "load_teacher"]
