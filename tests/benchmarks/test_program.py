"""The program of the benchmarks runs, and a ratio is that of the medians."""

import json
import re

import jax.numpy as jnp
import pytest

from tests.benchmarks.__main__ import main
from tests.benchmarks.agreement import Agreement, Outputs
from tests.benchmarks.results import Curve, Results
from tests.benchmarks.tables import figure, text
from tests.benchmarks.timing import Row, Times, counted, first_call, interleaved


def test_a_quick_run_prints_and_keeps_what_it_measured(tmp_path, capsys):
    file = tmp_path / "run.json"
    main(["--only", "w1", "--quick", "--repeats", "3", "--json", str(file)])
    printed, kept = capsys.readouterr().out, json.loads(file.read_text())
    assert [len(row["raw"]) for row in kept["rows"]] == [3, 3, 3]
    assert all(row["name"] in printed for row in kept["rows"])
    assert kept["rows"][1]["beside_raw"] == kept["rows"][0]["raw"]
    assert {"jax", "flax", "numpy"} < set(kept["about"]["versions"])
    assert {"processor", "cores", "date", "commit"} < set(kept["about"])
    assert [one["agree"] for one in kept["agreements"]] == [True, True]


def test_an_unknown_benchmark_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--only", "w1,w9"])
    assert "w9: must be of w1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("limits", "reached"),
    [
        ({"at_most": 1.5}, True),
        ({"at_most": 1.4}, False),
        ({"at_least": 1.5}, True),
        ({"at_least": 1.6}, False),
        ({"at_least": 0.8, "at_most": 1.2}, False),
        ({}, None),
    ],
)
def test_a_ratio_is_that_of_the_medians(limits, reached):
    row = Row("w2", "ours", "ms", (3.0, 2.0, 100.0), "plain", (1.0, 2.0, 50.0), **limits)
    assert (row.value, row.ratio, row.reached) == (3.0, 1.5, reached)


def test_a_value_without_a_comparison_is_judged_by_itself():
    row = Row("calibrate", "compilations", "compilations", (2.0, 2.0, 9.0), at_most=2.0)
    assert (row.ratio, row.reached) == (None, True)


def test_rows_stand_beside_one_of_the_programs():
    plain, ours = Times({"plain": [2.0, 4.0], "ours": [9.0, 9.0]}).rows("w2", "ms", "plain", {"ours": 3.0})
    assert (plain.value, plain.ratio, plain.reached) == (3.0, None, None)
    assert (ours.ratio, ours.reached) == (3.0, True)


def test_programs_take_turns_and_others_run_between_two_rounds():
    calls = []
    functions = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = interleaved(functions, 4, lambda: calls.append("peer"), warm=False)
    assert "".join(calls) == "abab" + "peer" + "abab"
    assert [len(values) for values in times.values()] == [4, 4]


def test_a_first_call_counts_its_program():
    with counted() as outer:
        found = first_call(lambda x: jnp.sin(x) + x, jnp.ones(3))
    assert found.compilations == 1
    assert outer.compilations >= 1
    assert 2 <= found.operations < 20
    assert found.total_s == found.trace_s + found.lower_s + found.compile_s


@pytest.mark.parametrize(
    ("ours", "agree"),
    [
        (Outputs(0.09, 2.1, 0.019), True),
        (Outputs(0.25, 2.0, 0.01), False),
        (Outputs(0.0, 1.7, 0.01), False),
        (Outputs(0.0, 2.0, 0.03), False),
        (Outputs(0.0, 2.0), True),
        (Outputs(0.0, 2.0, 0.01, 0.24), True),
        (Outputs(0.0, 2.0, 0.01, 0.26), False),
    ],
)
def test_outputs_agree_by_mean_spread_and_clipping(ours, agree):
    assert Agreement("w2", "ours", "peer", ours, Outputs(0.0, 2.0, 0.01, 0.2)).agree is agree


def test_tables_and_figure_of_a_run(tmp_path):
    results = Results(
        rows=[Row("w4", "aihwkit-lightning", "ms", (260.0,), "weight noise", (200.0,), at_least=1.3)],
        agreements=[Agreement("w4", "ours", "plain [Flax]", Outputs(0.0, 1.0), Outputs(0.0, 2.0))],
        curves=[Curve("depth", "layers", "seconds", {"plain": [(6, 0.1), (24, 0.4)], "ours": [(6, 0.2), (24, 0.9)]})],
        peers={"aihwkit": {"aihwkit": "1.0", "errors": {"w3": "no memory"}}},
    )
    printed = text(results)
    assert re.search(r"1\.30 +≥ 1\.3 +met +weight noise", printed)
    assert "NO" in printed
    assert "plain [Flax]" in printed
    assert "aihwkit, w3: did not run: no memory" in printed
    figure(results, tmp_path / "cost.svg")
    assert (tmp_path / "cost.svg").stat().st_size > 1000
