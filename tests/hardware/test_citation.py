"""Papers behind numbers: every default has one, a changed value has none, and BibTeX reads them."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import pybtex.database
import pytest
from flax import nnx

import analogsim
from analogsim import EnergyTable, Hardware, InputError, cite, preset, presets
from analogsim.base.field_rules import Choice, default_of, rule_of
from analogsim.base.literature import papers
from analogsim.devices import (
    PCM,
    SONOS,
    CMOReRAM,
    GenericCell,
    HermesPCM,
    MeasuredCell,
    MiloReRAM,
    ReRAM,
    Source,
    Wires,
)  # fmt: skip
from analogsim.hardware.presets import preset_sources
from analogsim.linen import AnalogDense
from analogsim.nnx import AnalogLinear
from tests.support.descriptions import every_description

#: How long a recipe trains, and how many chips a sweep samples, is no physics.
NO_PHYSICS = ("analogsim.training.recipes.recipe", "analogsim.training.recipes.sweep_file")
KINDS = [kind for kind in every_description() if kind.__module__ not in NO_PHYSICS]

#: Numbers that no publication could give, and why.
UNSOURCED = {
    "Hardware.rows": "the size of a tile is a design; presets of a chip give theirs",
    "Hardware.columns": "as rows",
    "Hardware.training_noise_scale": "how hard training is made is a choice of training",
    "TrackedRange.quantile": "a range that follows the data needs no paper; that of calibrate",
    "TrackedRange.momentum": "how fast a range follows is a choice of training",
    "DeviceNoise.time_s": "as FreshChip.time_s",
    "ProgrammingNoise.time_s": "at once, by definition",
    "StuckCells.off": "perfect by default",
    "StuckCells.on": "perfect by default",
    "FreshChip.time_s": "when training looks at its chips is a choice of training",
    "GenericCell.g_max": "a cell without a technology: its numbers are to be swept",
    "GenericCell.g_min": "as g_max",
    "GenericCell.programming_sigma": "ideal by default",
    "GenericCell.drift_mean": "ideal by default",
    "GenericCell.drift_std": "ideal by default",
    "GenericCell.read_noise": "ideal by default",
    "ECRAM.blind_pulses": "a choice of the writing procedure",
    "BitSerialDAC.bits": "a design",
    "SARADC.sharing": "a design",
    "PipelineADC.sharing": "a design",
    "CyclicADC.sharing": "a design",
    "BitSerialDAC.slice_bits": "a design",
    "BitSlices.widths": "a design",
    "MultiCell.significance": "a design",
    "Faults.stuck_on": "none by default",
    "Faults.stuck_off": "none by default",
    "Faults.stuck_at": "none by default",
    "Faults.stuck_at_conductance": "an open contact: what its name says",
    "Faults.spare_columns": "none by default",
}
MULTIPLIERS = {"programming_noise", "relaxation", "drift", "read_noise"}  # of what is published: 1 leaves it so


def _is_number(value):
    return isinstance(value, (int, float)) or (isinstance(value, tuple) and all(map(_is_number, value)))


def _entries(bibtex):
    """[(kind, key, {field: value})], as pybtex reads them."""
    entries = pybtex.database.parse_string(bibtex, "bibtex").entries
    return [
        (entry.type, key, dict(entry.fields) | {"author": " and ".join(map(str, entry.persons["author"]))})
        for key, entry in entries.items()
    ]


def _keys(found):
    return [paper.key for paper in found.papers]


def _fields(found, key):
    (citation,) = [c for c in found if c.paper.key == key]
    return set(citation.fields) - {"equations"}


# --- every number has a source ---------------------------------------------------------------------------------------


def test_all_kinds_of_description_are_seen():
    assert {"PCM", "HermesPCM", "Branches", "SONOS", "Wires", "EnergyTable", "ADC", "Hardware"} <= {
        k.__name__ for k in KINDS
    }


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_default_number_has_a_source(kind):
    for f in dataclasses.fields(kind):
        where, default, source = f"{kind.__name__}.{f.name}", default_of(f), rule_of(f).source
        assert source == "" or isinstance(source, Source), f"{where}: a source of the project is a Source"
        assert str(source) or source == "", where  # with its papers, whose keys are in papers.bib
        is_multiplier = f.name in MULTIPLIERS and default == 1.0
        if _is_number(default) and not isinstance(rule_of(f), Choice) and where not in UNSOURCED and not is_multiplier:
            assert source, where


def test_what_needs_no_source_exists():
    known = {f"{kind.__name__}.{f.name}" for kind in KINDS for f in dataclasses.fields(kind)}
    assert set(UNSOURCED) <= known


@pytest.mark.parametrize("name", presets())
def test_every_number_of_a_preset_has_a_source(name):
    found = cite(preset(name))
    assert found.set_by_user == []
    assert {use.path for use in found.chosen} <= {"rows", "columns", "training.time_s", "training_noise_scale"}
    for path, source in preset_sources(name).items():  # none of its sources is for a field that does not exist
        (use,) = [use for use in found.uses if use.path == path]
        assert use.source == source


@pytest.mark.parametrize("cell", [PCM, ReRAM, SONOS, MiloReRAM, CMOReRAM, HermesPCM, HermesPCM.one_pair])
def test_a_cell_as_published_is_wholly_sourced(cell):
    found = cite(cell())
    # Of 1/f noise is published what it adds up to; how long one reading lasts is assumed, and says so.
    assumed = [(use.path, str(use.source).partition(":")[0]) for use in found.without_paper]
    assert assumed == ([("reading_s", "assumed")] if getattr(cell(), "noise_persists", False) else [])
    assert (found.set_by_user, found.chosen) == ([], [])
    assert len(found.papers) >= 2  # the publication, and the code that its fit was read in


# --- what is attributed to whom --------------------------------------------------------------------------------------


def test_the_papers_of_the_pcm_preset():
    # Reference page, sections 2.1 and 7, 2.3 (standard evaluation), energy page 2.3 (arithmetic at 45 and 7 nm).
    found = cite(preset("pcm"))
    dois = {paper.doi for paper in found.papers}
    assert {
        "10.1038/s41467-020-16108-9", "10.1109/ICECS46596.2019.8964852", "10.1038/s41467-023-40770-4",
        "10.1109/TED.2018.2865352", "10.1109/ISSCC.2014.6757323", "10.1109/ISCA52012.2021.00010",
    } <= dois  # fmt: skip
    assert _fields(found, "rasch2023") == {"rows", "columns", "dac.bits", "adc.bits", "adc.noise"}
    assert {"store.cell.g_max", "store.cell.programming_sigma", "store.cell.drift_mean"} <= _fields(found, "joshi2020")
    assert {"store.cell.read_noise_fit", "energy_table.read_time_s"} <= _fields(found, "nandakumar2019")


@pytest.mark.parametrize(
    ("item", "doi_or_number"),
    [
        (ReRAM(), "10.1038/s41586-022-04992-8"),
        (HermesPCM(), "10.1038/s41928-023-01010-1"),
        (HermesPCM(), "10.1109/JSSC.2022.3140414"),
        (CMOReRAM(), "2502.04524"),
        (Wires(word_line_ohm=1.0, bit_line_ohm=1.0), "10.1109/TED.2013.2246791"),
        (EnergyTable(), "2305.18335"),
        (GenericCell(), "2109.01262"),
    ],
)
def test_papers_named_on_the_reference_pages_are_cited(item, doi_or_number):
    assert doi_or_number in {number for paper in cite(item).papers for number in (paper.doi, paper.arxiv)}


def test_a_scheme_is_cited_where_it_is_used():
    assert "legallo2018" in _keys(cite(preset("pcm")))
    assert "legallo2018" not in _keys(cite(preset("pcm", drift_compensation="none")))


def test_every_choice_of_a_published_scheme_is_published():
    assert cite(CMOReRAM(acceptance=0.002)).set_by_user == []
    assert "acceptance" in _fields(cite(CMOReRAM(acceptance=0.002)), "falcone2025")


# --- what is changed loses its paper ---------------------------------------------------------------------------------


def test_a_changed_constant_is_no_longer_attributed():
    found = cite(PCM(g_max="20 uS"))
    assert "g_max" not in _fields(found, "joshi2020")
    assert "g_min" in _fields(found, "joshi2020")
    assert [(use.path, use.value) for use in found.set_by_user] == [("g_max", "20 µS")]


def test_a_value_written_out_is_still_the_published_one():
    assert cite(PCM(g_max="25 uS", drift_mean=(0.0244, -0.0155))).uses == cite(PCM()).uses


def test_a_paper_without_a_field_left_is_gone():
    digital = ["energy_table.accumulate_j", "energy_table.buffer_j_per_byte", "energy_table.arithmetic_j"]
    others = {"energy_table.mac_j", "energy_table.weight_fetch_j_per_byte"}
    found = cite(preset("pcm", **dict.fromkeys(digital, 1e-12)))
    assert {r.path for r in found.recalled if "7 nm" in str(r)} == others
    found = cite(preset("pcm", **dict.fromkeys([*digital, *others], 1e-12)))
    assert "horowitz2014" not in _keys(found)
    assert "horowitz2014" not in found.bibtex


def test_a_removed_converter_and_a_changed_multiplier_are_the_user_s():
    found = cite(preset("pcm", **{"adc": None, "store.cell.drift": 0.5}))
    assert {(use.path, use.value) for use in found.set_by_user} == {("adc", "None"), ("store.cell.drift", "0.5")}


def test_another_cell_is_measured_by_its_own_papers():
    found = cite(preset("pcm", **{"store.cell": SONOS(g_max="12 uS")}))
    assert "joshi2020" not in _keys(found)
    assert "store.cell.std_limit" in _fields(found, "agrawal2022")
    assert [use.path for use in found.set_by_user] == ["store.cell.g_max"]


def test_a_second_published_set_counts_and_a_mixture_does_not():
    one = cite(HermesPCM.one_pair())
    assert "programming_sigma" in _fields(one, "legallo2023")
    # 300 s belongs to the fit of two pairs, 20.7 uS too: here they are the user's.
    mixed = cite(HermesPCM.one_pair(drift_reference_s=300.0, fit_g_max=20.7e-6))
    assert {use.path for use in mixed.set_by_user} == {"drift_reference_s", "fit_g_max"}
    inner = cite(HermesPCM().replace(**{"drift_std.limits": (0.0, 0.04)}))
    assert [use.path for use in inner.set_by_user] == ["drift_std.limits"]


def test_what_a_preset_sets_counts_under_its_name_only():
    mine = cite(preset("pcm", name="mine"))
    assert {use.path for use in mine.set_by_user} == {
        "adc.noise",
        "energy_table.read_time_s",
        "energy_table.cell_write_j",
        "energy_table.write_pulse_j",
    }
    assert cite(Hardware(name="pcm")).set_by_user == []  # the defaults of Hardware, with no noise to attribute


def test_measured_numbers_are_the_user_s():
    cell = MeasuredCell.from_rows([(0.0, 0.1e-6, 1.0), (20e-6, 0.5e-6, 1.0)])
    found = cite(cell)
    assert {use.path for use in found.set_by_user} == {"conductance", "time_s", "sigma"}
    assert list(found) == []
    assert "rests on no paper" in found.text


def test_a_traced_value_is_nobody_s():
    seen = []

    def build(noise):
        seen.append(cite(preset("pcm", **{"adc.noise": noise})))
        return noise

    jax.jit(build)(0.04)
    assert [(use.path, use.value) for use in seen[0].set_by_user] == [("adc.noise", "traced")]


# --- recalled --------------------------------------------------------------------------------------------------------


def test_documentation_lists_what_is_recalled():
    """A number that is checked, or another one recalled, is to be changed here too; no number is tested."""
    # The 45 and 7 nm tables of arithmetic and SRAM, ISAAC's areas, adder and buffers, a DRAM's rate, a dispatch.
    recalled = {path: (value, source) for path, value, source in cite(preset("pcm")).recalled}
    assert {path: value for path, (value, _) in recalled.items()} == {
        "energy_table.accumulate_j": "1.54 pJ",
        "energy_table.adc_area_m2": "1200 µm²",
        "energy_table.adder_area_m2": "60 µm²",
        "energy_table.arithmetic_j": "722 fJ",
        "energy_table.laser_efficiency": "0.2",
        "energy_table.modulator_j": "450 fJ",
        "energy_table.qubit_read_j": "10 nJ",
        "energy_table.receiver_j": "312.5 fJ",
        "energy_table.buffer_area_m2_per_byte": "1.05 µm²/B",
        "energy_table.driver_area_m2": "0.17 µm²",
        "energy_table.network_area_m2": "390 µm²",
        "energy_table.shift_add_j": "21 fJ",
        "energy_table.buffer_bytes": "8388608",
        "energy_table.buffer_j_per_byte": "1.16 pJ/B",
        "energy_table.dispatch_s": "5 µs",
        "energy_table.memory_byte_per_s": "25.6 GB/s",
        "energy_table.mac_j": "3.56 pJ",
        "energy_table.weight_fetch_j_per_byte": "7.57 pJ/B",
    }
    assert recalled["energy_table.mac_j"][1].papers == (papers()["horowitz2014"], papers()["jouppi2021"])
    assert ("energy_table.mac_j", "100 fJ") in [(path, value) for path, value, _ in cite(preset("int8")).recalled]
    assert cite(PCM()).recalled == []


def test_an_energy_comparison_recalls_what_its_systems_do():
    x = jnp.ones((2, 4))
    layer = AnalogDense(3, hardware=preset("pcm"))
    found = cite(analogsim.energy.compare(layer, layer.init(jax.random.key(0), x), x))
    assert found.subject == "pcm, H100, Eyeriss, brain"
    recalled = {path for path, _, _ in found.recalled}
    # HBM3 and vendor figures, ratios of Eyeriss, a vesicle's energy are "M"; HBM2 and the survey are not.
    assert {
        "H100.memory (transfer)",
        "H100.arithmetic (MAC)",
        "Eyeriss.DRAM (access)",
        "brain.synapses (arriving spike)",
    } <= (recalled)
    assert not any(path.startswith("pcm.ADC") for path in recalled)
    assert {"murmann2025", "choi2013", "chen2017", "lennie2003"} <= set(_keys(found))
    assert all(
        isinstance(s, Source)
        for b in analogsim.energy.compare(layer, layer.init(jax.random.key(0), x), x, systems=("A100",)).breakdowns
        for line in b.items
        for s in line.sources
    )


# --- what may be asked about -----------------------------------------------------------------------------------------


def test_whatever_holds_the_hardware_has_its_papers():
    hardware, x, key = preset("pcm"), jnp.ones((2, 4)), jax.random.key(0)
    layer = AnalogDense(3, hardware=hardware)
    variables = layer.init(key, x)
    expected = cite(hardware).uses
    holders = [
        layer,
        analogsim.convert(nn.Dense(3), hardware),
        nnx.Sequential(AnalogLinear(4, 3, hardware=hardware, rngs=nnx.Rngs(0))),
        analogsim.program(layer, variables, key, x),
        analogsim.program(layer, variables, jax.random.split(key, 2), x),  # a stack: every value twice, float32
        {"a": hardware, "b": [hardware]},
    ]
    for holder in holders:
        assert cite(holder).uses == expected, type(holder).__name__
        assert cite(holder).subject == "pcm"


def test_a_stack_of_different_chips_has_different_values():
    stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), PCM(), PCM(g_max="20 uS"))
    assert [(use.path, use.value) for use in cite(stack).set_by_user] == [("g_max", "array of shape (2,)")]


def test_several_descriptions_are_told_apart():
    found = cite([preset("pcm"), preset("reram"), preset("pcm", rows=64)])
    assert found.subject == "pcm, reram, pcm (2)"
    assert [use.path for use in found.set_by_user] == ["pcm (2).rows"]
    assert {"pcm.store.cell.g_max", "pcm (2).store.cell.g_max"} <= _fields(found, "joshi2020")
    assert "reram.store.cell.g_max" in _fields(found, "wan2022")
    assert len({paper.key for paper in found.papers}) == len(found.papers)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ("pcm", r"cite: 'pcm' is a string; pass hardware \(preset\('pcm'\)\)"),
        (PCM, "cite: PCM is a class, not a description; pass"),
        (3, "cite: no description in int; pass"),
        (None, "cite: no description in NoneType; pass"),
        (nn.Dense(3), "cite: no description in Dense; pass"),
    ],
)
def test_what_has_no_sources_is_refused(item, message):
    with pytest.raises(InputError, match=message):
        cite(item)
