"""Long work that is followed, and left."""

import threading
import time

import pytest

from diffgs_jax.errors import DataError
from diffgs_jax.viewing import jobs
from diffgs_jax.viewing.assets import JobProgress
from diffgs_jax.viewing.jobs import Abandoned, Done, follow


@pytest.fixture
def worker():
    with jobs.worker() as worker:
        yield worker


def test_progress_then_the_end(worker):
    def job(report):
        for step in range(3):
            report(JobProgress("counting", step, 3))
        return "made"

    events = list(follow(worker, job))
    assert [event.done for event in events[1:-1]] == [0, 1, 2]
    assert events[-1] == Done("made")


def test_errors_arrive_at_the_follower(worker):
    def job(report):
        raise DataError("no object")

    with pytest.raises(DataError, match="no object"):
        list(follow(worker, job))


def test_the_last_progress_is_repeated_while_nothing_happens(worker):
    release = threading.Event()

    def job(report):
        report(JobProgress("compiling"))
        return release.wait(10)

    following = follow(worker, job, every=0.01)
    assert [next(following).doing for _ in range(5)][2:] == ["compiling"] * 3
    release.set()
    assert list(following)[-1] == Done(True)


def test_a_job_that_is_left_ends_at_its_next_report_and_the_next_one_runs(worker):
    ends, begun = [], threading.Event()

    def job(report):
        try:
            for _ in range(1000):
                report(JobProgress("counting"))
                begun.set()
                time.sleep(0.01)
        except Abandoned as error:
            ends.append(error)
            raise

    following = follow(worker, job)
    next(following)
    assert begun.wait(10)
    following.close()
    assert list(follow(worker, lambda report: "next"))[-1] == Done("next")
    assert len(ends) == 1


def test_a_job_that_is_left_in_the_line_never_begins(worker):
    release, begun = threading.Event(), []
    first = worker.thread.submit(release.wait, 10)
    following = follow(worker, begun.append)
    next(following)
    following.close()
    release.set()
    first.result()
    assert list(follow(worker, lambda report: 1))[-1] == Done(1)
    assert not begun


def test_closing_ends_the_job_under_way_and_those_in_the_line():
    begun, ends, never = threading.Event(), [], []

    def job(report):
        try:
            while True:
                report(JobProgress("counting"))
                begun.set()
                time.sleep(0.01)
        except Abandoned as error:
            ends.append(error)

    with jobs.worker() as worker:
        worker.start(job, threading.Event(), lambda progress: None)
        worker.start(never.append, threading.Event(), lambda progress: None)
        assert begun.wait(10)
    assert len(ends) == 1 and not never
