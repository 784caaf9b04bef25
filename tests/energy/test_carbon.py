"""Carbon and lifecycles against published figures, worked by hand."""

import csv
import itertools
import math
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analogsim import InputError
from analogsim.energy import carbon, lifecycle
from analogsim.energy.carbon import PUE, Embodied, embodied, grid, operational_kg, pue
from analogsim.energy.training_runs import training_runs, training_s

KWH = 3.6e6


@pytest.mark.parametrize(
    ("place", "g"),
    [("USA", 369), ("China", 582), ("India", 713), ("DEU", 381), ("France", 56), ("United Kingdom", 238),
     ("Poland", 662), ("SWE", 41), ("Norway", 30), ("Canada", 170), ("Japan", 485), ("Iceland", 28), ("world", 481)],
)  # fmt: skip
def test_grids_of_2023(place, g):
    found = grid(place)
    assert found.kg_per_kwh == pytest.approx(g / 1000, abs=0.0006)
    assert found.year == (2022 if place == "Iceland" else 2023)
    assert str(found.source)


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (("UK", "uk", "GB", "GBR", "U.K.", "Great Britain", "the United Kingdom"), "GBR"),
        (("DE", "de", "deu", "germany", "GERMANY", " Germany "), "DEU"),
        (("US", "USA", "U.S.A.", "United States of America", "america"), "USA"),
        (("Czech Republic", "cz", "Czechia"), "CZE"),
        (("Turkey", "Türkiye", "TR"), "TUR"),
        (("Côte d'Ivoire", "Ivory Coast", "CI"), "CIV"),
        (("South Korea", "Republic of Korea", "Korea, Republic of", "KR"), "KOR"),
        (("North Korea", "KP"), "PRK"),
        (("Niger", "NE"), "NER"),
        (("Nigeria", "ng"), "NGA"),
        (("The Netherlands", "Holland"), "NLD"),
    ],
)
def test_countries_go_by_their_names_and_codes(names, code):
    for name in names:
        assert grid(name) == grid(code), name


def test_the_table_s_codes_and_names_are_those_of_as_many_countries():
    # No name may stand for two places: as many grids as rows, and the union and the world.
    with (files("analogsim.energy") / "data" / "grid_carbon_intensity_by_country.csv").open() as table:
        rows = list(csv.DictReader(table))
    names = [{row["iso2"], row["iso3"], row["country"], *filter(None, row["also"].split(";"))} for row in rows]
    plain = [{carbon._plain(name) for name in each} for each in names]
    assert sum(map(len, plain)) == len(set().union(*plain))
    assert all(len(row["iso2"]) == 2 and len(row["iso3"]) == 3 for row in rows)
    assert len({id(found) for found in carbon._grids().values()}) == len(rows) + 2


def test_the_european_union_is_the_mean_of_what_its_members_generate():
    # 243.8 g/kWh; Ember publishes 242 for 2023.
    assert len(carbon.EU) == len(set(carbon.EU)) == 27
    with (files("analogsim.energy") / "data" / "grid_carbon_intensity_by_country.csv").open() as table:
        rows = [row for row in csv.DictReader(table) if row["iso3"] in carbon.EU]
    grams = np.average([float(r["gco2e_per_kwh"]) for r in rows], weights=[float(r["generation_twh"]) for r in rows])
    assert {r["year"] for r in rows} == {"2023"}
    for name in ("EU", "eu", "EU-27", "European Union"):
        assert 1000 * grid(name).kg_per_kwh == pytest.approx(grams, rel=1e-12)
    assert 1000 * grid("EU").kg_per_kwh == pytest.approx(242, rel=0.02)
    assert "27 members weighted by generation" in str(grid("EU").source)
    # The same weights over all countries meet the world's mean of another publication.
    with (files("analogsim.energy") / "data" / "grid_carbon_intensity_by_country.csv").open() as table:
        every = list(csv.DictReader(table))
    whole = np.average([float(r["gco2e_per_kwh"]) for r in every], weights=[float(r["generation_twh"]) for r in every])
    assert whole == pytest.approx(481, rel=0.03)


def test_a_grid_of_one_s_own():
    assert grid(0.2).kg_per_kwh == 0.2
    assert operational_kg(10 * KWH, 0.2, 1.5) == pytest.approx(1.5 * 10 * 0.2)
    assert pue("average") == PUE["average"]


# Watts x devices x days x 24 h x PUE, and kg/kWh: Patterson et al. 2021, Luccioni et al. 2022.
@pytest.mark.parametrize(
    ("name", "mwh", "t"),
    [("T5", 310 * 512 * 20 * 24 * 1.12e-6, 46.7), ("GPT3", 330 * 10_000 * 14.8 * 24 * 1.10e-6, 552.1),
     ("Gshard", 288 * 1024 * 3.1 * 24 * 1.09e-6, 4.3), ("Switch", 245 * 1024 * 27 * 24 * 1.10e-6, 59.1),
     ("XLM", 342 * 512 * 20.4 * 24 * 1.10e-6, 39.0), ("Meena", 289 * 1024 * 30 * 24 * 1.09e-6, 96.4),
     ("BLOOM (dynamic only)", 400 * 1_082_990 * 1e-6, 24.7)],
)  # fmt: skip
def test_seven_training_runs(name, mwh, t):
    run = training_runs()[name]
    assert run.facility_j == pytest.approx(run.pue * run.energy_j, rel=1e-12)
    assert run.mwh == pytest.approx(mwh, rel=1e-9)
    assert run.mwh == pytest.approx(run.reported_mwh, rel=0.01)
    assert run.t == pytest.approx(t, rel=0.02)  # Gshard's 4.3 is given to two digits
    assert run.is_recalled == (name == "Meena")


def test_the_data_centre_counts_once():
    # 330 W x 10,000 x 14.8 days are 1,172 MWh of the machines; PUE 1.1 makes 1,289 of them, and not 1,418.
    run = training_runs()["GPT3"]
    assert run.energy_j / 3.6e9 == pytest.approx(330 * 10_000 * 14.8 * 24e-6, rel=1e-12)
    for life in (lifecycle(0.0, inferences=0, training_j=run.energy_j, pue=run.pue, country=run.kg_per_kwh),
                 lifecycle(0.0, inferences=0, training_j=run.facility_j, pue=1.0, country=run.kg_per_kwh)):  # fmt: skip
        assert life.energy_j[1] / 3.6e9 == pytest.approx(1289.4, abs=0.05)
        assert life.operational_kg[1] == pytest.approx(552.1e3, rel=0.005)
    assert operational_kg(run.energy_j, run.kg_per_kwh, run.pue) == pytest.approx(552.1e3, rel=0.005)


def test_gpt_3_by_its_operations():
    # 6 x 175e9 x 300e9 = 3.15e23; at 24.6 TFLOP/s on 10,000 devices 14.82 days, 406 device-years.
    seconds = training_s(175e9, 300e9, 10_000, 24.6e12)
    assert seconds / 86400 == pytest.approx(14.82, abs=0.005)
    assert 10_000 * seconds / 31_557_600 == pytest.approx(406, abs=1)


def test_the_die_of_an_h100_is_21_kg():
    # (0.5 kg/kWh x 2.75 kWh + 0.43 kg + 0.5 kg) x 8.14 cm2 / 0.875 = 21.44 kg; 15 and 164 kg in other accounts.
    found = embodied(814e-6, "5nm")
    assert found.typical_kg == pytest.approx((0.5 * 2.75 + 0.43 + 0.5) * 8.14 / 0.875, rel=1e-9)
    assert found.low_kg == pytest.approx(15, rel=1e-9)
    assert found.high_kg == pytest.approx(164 - 80 * 0.065, rel=1e-9)  # the module without its memory
    assert found.high_kg / found.low_kg > 10


def test_memory_counts_once_in_every_account():
    # 80 GB at 65 g: 5.2 kg. The vendor's 164 kg are those of the module with its memory.
    bare, whole = embodied(814e-6, "5nm"), embodied(814e-6, "5nm", memory_gb=80)
    assert whole.high_kg == pytest.approx(164, rel=1e-9)
    for end in ("low_kg", "typical_kg", "high_kg"):
        assert getattr(whole, end) - getattr(bare, end) == pytest.approx(80 * 0.065, rel=1e-9)
    memory = embodied(0, "7nm", memory_gb=80, memory="lpddr4")
    assert (memory.low_kg, memory.typical_kg, memory.high_kg) == pytest.approx((80 * 0.048,) * 3)
    # Twice the module of the same kind emits twice as much, in every account.
    double = embodied(2 * 814e-6, "5nm", memory_gb=160)
    assert double.high_kg == pytest.approx(2 * 164)


def test_a_job_s_share():
    whole = Embodied(low_kg=10, typical_kg=20, high_kg=100)
    part = whole.allocated(time_s=86400, lifetime_s=3 * 365 * 86400, devices=8, utilisation=0.5)
    assert part.typical_kg == pytest.approx(20 * 8 / (3 * 365 * 0.5))
    assert part.low_kg < part.typical_kg < part.high_kg


@pytest.mark.parametrize(("queries", "share"), [(47e6, 0.80), (106e6, 0.90)])
def test_inference_is_80_to_90_per_cent_of_a_year(queries, share):
    # 1,287 MWh of training, 0.3 Wh a query: N = share/(1 - share) x 1,287 MWh / 0.3 Wh a year.
    assert share / (1 - share) * 1287e6 / 0.3 / 365 == pytest.approx(queries, rel=0.01)
    life = lifecycle(0.3 * 3600, inferences=queries * 365, training_j=1287e6 * 3600)
    assert life.inference_fraction == pytest.approx(share, abs=0.002)


def test_a_life_adds_up():
    life = lifecycle((1.0, 2.0, 4.0), inferences=1000, training_j=500.0, retrainings=1, search_j=100.0, write_j=10.0,
                     writes=3, calibration_j=5.0, calibrations=10, country="Sweden", pue=1.2,
                     embodied=Embodied(low_kg=1, typical_kg=2, high_kg=3))  # fmt: skip
    others = 1000 + 100 + 30 + 50
    assert life.energy_j == pytest.approx([1.2 * (others + n) for n in (1000, 2000, 4000)])
    assert life.inference_fraction == pytest.approx(2000 / (2000 + others))
    assert life.break_even == pytest.approx(others / 2)
    kg = 1.2 * (others + 2000) / KWH * grid("Sweden").kg_per_kwh
    assert life.operational_kg[1] == pytest.approx(kg)
    assert life.total_kg[1] == pytest.approx(kg + 2)
    text = str(life)
    assert "training" in text
    assert "Sweden" in text
    assert life.to_dict()["energy_j"] == life.energy_j


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1e12), min_size=5, max_size=5), st.floats(1, 3))
def test_a_life_only_grows(values, usage):
    names = ("inferences", "training_j", "search_j", "write_j", "retrainings")
    base = dict(zip(names, values, strict=True))
    before = lifecycle(1e-3, pue=usage, **base).energy_j
    for name in names:
        after = lifecycle(1e-3, pue=usage, **(base | {name: base[name] + 1.0})).energy_j
        assert all(b >= a for a, b in zip(before, after, strict=True))
    assert all(a <= b for a, b in itertools.pairwise(before))


def test_free_inference_never_breaks_even():
    assert math.isinf(lifecycle(0.0, inferences=10, training_j=1.0).break_even)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: grid("Atlantis"), "grid = 'Atlantis': not in the table of countries; give its English name, its ISO"),
        (lambda: grid("Germny"), "grid = 'Germny': not in the table of countries; did you mean 'Germany'?"),
        (lambda: grid("UX"), "grid = 'UX': not in the table of countries; give its English name"),
        (lambda: grid(None), "grid = None: not in the table of countries"),
        (lambda: grid(5), "grid = 5: must be at least 0 and at most 2"),
        (lambda: pue(0.9), "pue = 0.9: must be at least 1 and at most 3"),
        (lambda: pue("cloud"), "pue = 'cloud'"),
        (lambda: operational_kg(-1.0), r"energy_j = -1.0: must be a number and at least 0 \(unit: J\)"),
        (lambda: embodied(1e-4, "6nm"), "node = '6nm': has no figure"),
        (lambda: embodied(-1.0, "7nm"), "area_m2 = -1.0"),
        (lambda: embodied(1e-4, "7nm", memory="hbm"), "memory = 'hbm': has no figure"),
        (lambda: Embodied(low_kg=1, typical_kg=1, high_kg=1).allocated(1, 1, 1, 0), "utilisation = 0"),
        (lambda: lifecycle(1.0, inferences=-1), "inferences = -1: must be a number and at least 0"),
        (lambda: lifecycle((2.0, 1.0, 3.0), inferences=1), r"inference = \(2.0, 1.0, 3.0\): must be joules"),
        (lambda: training_s(0, 1, 1, 1), "parameters = 0: must be greater than 0"),
    ],
)
def test_bad_input_is_one_sentence(call, message):
    with pytest.raises(InputError, match=message):
        call()
