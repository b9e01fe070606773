from transferkit.errors import shown_text, worker_died


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert shown_text("Löwe 猫") == "Löwe 猫"
    assert shown_text("a\x1b[2Jb\nc\u202ed\udcff") == r"a\x1b[2Jb\nc\u202ed\udcff"


def test_only_a_dead_worker_is_explained() -> None:
    told = worker_died(RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "))
    assert told is not None
    assert "(DataLoader worker (pid 7) is killed by signal: Killed)" in told
    assert "trainer.num_workers=0" in told
    assert worker_died(RuntimeError("shapes differ")) is None
    assert worker_died(ValueError("DataLoader worker")) is None
