"""Figures that change with an answer alone, kept until the next one comes.

Annotations are append-only: how many there are and the latest of them say whether one came.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import wraps
from threading import Lock
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import func, select

from atlas.project import Project
from atlas.store.tables import AnnotationRow, Image

KEPT = 16  # results of each function, such as one a level

P = ParamSpec("P")
R = TypeVar("R")


def until_answered(
    function: Callable[Concatenate[Project, P], R],
) -> Callable[Concatenate[Project, P], R]:
    """A function of annotations, images and its arguments alone is worked out once for each.

    Arguments must be hashable. Requests that come meanwhile wait for the one that works it out.
    """
    results: OrderedDict[Hashable, R] = OrderedDict()
    lock = Lock()

    @wraps(function)
    def remembered(project: Project, /, *args: P.args, **kwargs: P.kwargs) -> R:
        at = (project.directory, _state(project), args, tuple(sorted(kwargs.items())))
        with lock:
            if at not in results:
                results[at] = function(project, *args, **kwargs)
                if len(results) > KEPT:
                    results.popitem(last=False)
            return results[at]

    return remembered


def _state(project: Project) -> Hashable:
    with project.database.reader() as session:
        answers = session.execute(select(func.count(), func.max(AnnotationRow.id))).one()
        images = session.execute(select(Image.split, func.count()).group_by(Image.split))
        return tuple(answers), tuple(sorted(tuple(row) for row in images))
