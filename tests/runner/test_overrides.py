"""`--set` on a suite that has one task under several protocols."""

from __future__ import annotations

import pytest

from benchmark.errors import SuiteError
from benchmark.runner.overrides import overridden
from benchmark.suites.suite import Suite, SuiteTask

CORRUPTED = SuiteTask(task="robustness", protocol="robust/corruptions", settings={"n": 7})
ATTACKED = SuiteTask(task="robustness", protocol="robust/adversarial@tiny")
LINEAR, KNN = SuiteTask(task="linear"), SuiteTask(task="knn", protocol="knn/dino")
SUITE = Suite(name="several", tasks=(LINEAR, CORRUPTED, ATTACKED, KNN))


def test_nothing_set_changes_nothing() -> None:
    assert overridden(SUITE, {}) == list(SUITE.tasks)


def test_a_setting_goes_to_the_protocols_that_have_it() -> None:
    linear, corrupted, attacked, knn = overridden(SUITE, {"robustness": {"extra": True, "head": "own"}})
    assert (linear, knn) == (LINEAR, KNN)
    assert corrupted.settings == {"n": 7, "extra": True, "head": "own"} and attacked.settings == {"head": "own"}
    (_, corrupted, attacked, _) = overridden(SUITE, {"robustness": {"n": 9}})
    assert corrupted.settings == attacked.settings == {"n": 9}


def test_a_protocol_takes_the_place_of_all_of_its_task() -> None:
    lines = overridden(SUITE, {"robustness": {"protocol": "robust/adversarial", "steps": 3}})
    assert [line.protocol for line in lines] == [None, "robust/adversarial", "knn/dino"]
    assert lines[1].settings == {"steps": 3}  # those of another protocol's line are not its own
    lines = overridden(SUITE, {"robustness": {"protocol": "robust/corruptions"}})
    assert lines[1] == CORRUPTED and len(lines) == 3


def test_a_task_of_one_line_keeps_its_settings_and_gets_its_own_message() -> None:
    (line,) = overridden(Suite(name="one", tasks=(CORRUPTED,)), {"robustness": {"protocol": "robust/shift", "x": 1}})
    assert line.protocol == "robust/shift" and line.settings == {"n": 7, "x": 1}


def test_a_setting_that_no_protocol_has_is_refused_with_the_nearest() -> None:
    with pytest.raises(SuiteError, match=r"robustness in suite several; found robustness.stepz; did you mean steps"):
        overridden(SUITE, {"robustness": {"stepz": 3}})
