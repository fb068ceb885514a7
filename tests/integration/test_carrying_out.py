"""What a task records of what its step gave back."""

from atlas.project import Project
from atlas.store.tables import Job
from services import jobs, tasks


def test_a_result_may_use_the_words_of_the_log(empty_project: Project) -> None:
    """Rescoring tells the seconds of its stages; the log says how many the job took."""
    database = empty_project.database
    jobs.request(database, "rescore")
    result = {"seconds": {"fit": 0.1}, "job": "x", "event": "y"}
    tasks.carry_out(empty_project, "rescore", lambda owner: result)
    with database.reader() as session:
        job = session.get_one(Job, "rescore")
    assert (job.state, job.progress) == ("done", result)
