from pathlib import Path

from benchmarks.records import Case, Record, complete, make_case, with_error


def test_a_stopped_benchmark_goes_on_where_it_was(tmp_path: Path) -> None:
    measured: list[str] = []

    def measure(case: Case) -> Record:
        measured.append(case.method)
        return {"top1": 0.5, "seconds": 1.0}

    path = tmp_path / "fits.jsonl"
    cases = [make_case("lp_ft", name, "20", 0, [f"strategy.ema={name}"]) for name in ("0.5", "0.9")]
    complete(path, cases[:1], measure, only_read=False)
    assert len(complete(path, cases, measure, only_read=True)) == 1
    records = complete(path, cases, measure, only_read=False)
    assert measured == ["0.5", "0.9"]
    assert [record["method"] for record in records] == ["0.5", "0.9"]
    other = make_case("lp_ft", "0.5", "20", 1, ["strategy.ema=0.5"])  # another seed
    complete(path, [other], measure, only_read=False)
    assert len(path.read_text().splitlines()) == 3


def test_the_error_is_that_of_the_mean() -> None:
    assert with_error([1.0, 2.0, 6.0]) == "+3.0 ± 1.5"  # deviation 2.646, over the root of 3
    assert with_error([-1.0]) == "-1.0"
    assert with_error([]) == "-"
