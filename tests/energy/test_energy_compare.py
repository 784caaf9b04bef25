"""The comparison as a whole: sums, tables, dataset and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rich.console
from flax import linen as nn

from analogsim import InputError, preset
from analogsim.energy import SYSTEMS, ModelDoesNotFit, System, compare, waiting
from analogsim.linen import AnalogDense
from analogsim.plot import energy_bars as energy_figure
from tests.energy.energy_models import MLP, mlp


@pytest.fixture(scope="module")
def digits():
    return mlp()


@pytest.fixture(scope="module")
def comparison(digits):
    return compare(*digits)


def test_every_breakdown_is_the_sum_of_its_lines(comparison):
    for breakdown in comparison.breakdowns:
        assert breakdown.energy_typical_j == pytest.approx(
            sum(x.count * x.unit_energy_j for x in breakdown.items), rel=1e-12
        )
        assert 0 < breakdown.energy_low_j <= breakdown.energy_typical_j <= breakdown.energy_high_j
        assert all(x.source for x in breakdown.items)


def test_rows_are_the_hardware_then_the_systems(comparison):
    assert comparison.systems == ("pcm", "H100", "Eyeriss", "brain")
    assert [(b.system, b.batch) for b in comparison.breakdowns[:4]] == [
        ("pcm", 1),
        ("pcm", 256),
        ("H100", 1),
        ("H100", 256),
    ]


def test_analog_energy_is_the_same_in_any_batch(comparison):
    one, many = comparison.breakdowns[:2]
    assert one.items == many.items


def test_dataset(comparison):
    data = comparison.to_dataset()
    assert dict(data.sizes) == {"system": 4, "batch": 2}
    assert data["energy_low_j"].attrs["units"] == "J"
    assert data["latency_s"].attrs["units"] == "s"
    h100 = data.sel(system="H100", batch=256)
    # 0.3 * 700 W * 11 us, shared; the 18 ns in which bytes move and their 490 W more are 0.4 % of it.
    assert float(h100["energy_high_j"]) == pytest.approx(2.31e-3 / 256, rel=0.01)
    assert np.isnan(data["latency_s"].sel(system="brain")).all()
    assert np.all(data["energy_low_j"] <= data["energy_high_j"])
    assert data.attrs["macs"] == 4736


def test_tables_say_what_they_leave_out(comparison):
    text = str(comparison)
    assert max(map(len, text.splitlines())) <= 120
    text = " ".join(text.split())
    for words in (
        "4,736 MAC",
        "1.54 mJ",
        "pcm excludes clock and control",
        "The model computes 4,736 of 4,736 MAC in analog layers and 138 results of other arithmetic",
        "pcm, H100, Eyeriss count all of it",
        "brain excludes all 138 results of the model: arithmetic other than products",
    ):
        assert words in text, words
    console = rich.console.Console(width=120, file=None, record=True, quiet=True)
    console.print(comparison.table())
    assert comparison.table().row_count == 6  # pcm and the brain cost the same in any batch
    lines = {(x.component, x.action) for x in comparison.hardware.items}
    assert comparison.components_table().row_count == len(lines) + 1  # and the sum


class Attention(nn.Module):
    """8 tokens of 6 features on three matrices; scores and their means are products of two activations."""

    @nn.compact
    def __call__(self, x):
        q, k, v = (AnalogDense(6, hardware=preset("pcm"), use_bias=False)(x) for _ in range(3))
        return nn.softmax(q @ k.swapaxes(-1, -2)) @ v


def test_every_breakdown_says_how_much_of_the_model_it_leaves_out():
    # 3 x 8 x 6 x 6 MAC with weights, 2 x 8 x 8 x 6 of two activations an example: 864 and 768.
    x = jnp.ones((2, 8, 6))
    found = compare(Attention(), Attention().init(jax.random.key(0), x), x, batch=1,
                    systems=("H100", "photonic mesh", "Loihi", "brain", "brain vesicles"))  # fmt: skip
    assert found.macs == 864 + 768
    text = found.excludes
    assert "pcm, H100 count all of it" in text
    for name in ("photonic mesh", "Loihi"):
        assert f"{name} excludes 768 of 1,632 MAC of the model: products of two activations" in text, name
    for name in ("photonic mesh", "Loihi", "brain", "brain vesicles"):
        omitted = {o.unit: o for b in found.breakdowns if b.system == name for o in b.omits}
        assert omitted["results"].count == omitted["results"].of == found.work.operations.results / 2, name
    assert "all that the model computes" not in text
    # Joules a MAC are those of the MAC that are counted.
    mesh = next(s for s in found.to_dict()["systems"] if s["system"] == "photonic mesh")
    assert mesh["macs_per_s_per_w"] == pytest.approx(864 / mesh["energy_typical_j"])
    # What is left out is not priced either: events of the 864 alone, three meshes of one tile.
    lines = {(b.system, x.component): x for b in found.breakdowns for x in b.items}
    assert lines["Loihi", "synapses"].count == 864
    assert lines["brain", "synapses"].count == 1632
    assert lines["photonic mesh", "DAC"].count == 3 * 8 * 6


def test_light_computes_with_a_matrix_that_it_holds_already():
    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x):
            layer = AnalogDense(6, hardware=preset("pcm"), use_bias=False)
            return layer(layer(x))

    x = jnp.ones((1, 6))
    mesh = compare(Twice(), Twice().init(jax.random.key(0), x), x, systems="photonic mesh", batch=1).breakdowns[1]
    count = {line.action: line.count for line in mesh.items}
    assert count["drive a modulator"] == 12
    assert count["light"] == pytest.approx(2e-9)
    assert mesh.latency_s == pytest.approx(5e-6 + 2e-9)  # 12 numbers pass the memory in 0.5 ns
    assert count["hold"] == pytest.approx(2 * 64**2 * 2e-9)  # one mesh for both passes
    assert mesh.omits == ()


@pytest.fixture(scope="module")
def too_large():
    # 4000 x 4000 weights: 16 MB do not fit an Edge TPU's 8 MB.
    model, x = AnalogDense(4000, hardware=preset("pcm"), use_bias=False), jax.ShapeDtypeStruct((1, 4000), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    return compare(model, variables, x, systems=("Edge TPU", "TPU v1", "brain"), batch=(1, 16))


def test_what_does_not_fit_is_a_row_and_ends_nothing(too_large):
    assert too_large.systems == ("pcm", "TPU v1", "brain", "Edge TPU")
    assert [(each.system, each.batch) for each in too_large.unsupported] == [("Edge TPU", 1), ("Edge TPU", 16)]
    data = too_large.to_dataset().sel(system="Edge TPU")
    assert np.isnan(data.energy_typical_j).all()
    assert np.isfinite(too_large.to_dataset().sel(system="TPU v1").energy_typical_j).all()
    text = " ".join(str(too_large).split())
    assert "does not fit:" in text
    assert "MB of weights and maps" in text
    assert too_large.to_dict()["unsupported"][0]["system"] == "Edge TPU"
    assert "brain" in text


@pytest.mark.parametrize("message", ["core: not enough cells: 3", "not enough cells: 3"])
def test_the_reason_of_a_system_is_its_message_without_its_name(digits, message):
    def breakdown(work, batch):
        raise ModelDoesNotFit(message)

    (row,) = compare(*digits, systems=(System("core", breakdown),), batch=1).unsupported
    assert row.reason == "not enough cells: 3"


def test_what_does_not_fit_is_on_the_page_and_in_no_curve(too_large, tmp_path):
    page = too_large.to_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "does not fit: 16" in page
    names = {t.get_text() for t in too_large.plot_batch().texts}
    assert names == {"pcm", "TPU v1", "brain"}


def test_what_mostly_waits_is_said_in_table_figure_and_page(comparison, tmp_path):
    # Of 1.54 mJ at 0.2 x 700 W for 11 us something is moved for 9,620 B / (0.8 x 3.35 TB/s) = 3.6 ns: 99.9 % waits.
    gpu = comparison.breakdowns[2]
    assert gpu.idle_fraction == pytest.approx(140 * (11e-6 - 9620 / (0.8 * 3.35e12)) / gpu.energy_typical_j, rel=1e-6)
    part = f"{100 * gpu.idle_fraction:.2f} %"
    words = f"H100 at batch 1 is launch-bound: {part} of its 1.54 mJ is spent waiting; at batch 256 it takes"
    text = " ".join(str(comparison).split())
    assert words in text
    assert f"launches; {part} waiting" in text
    page = comparison.to_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert words in page.replace("\N{NO-BREAK SPACE}", " ")
    assert "1.5 mJ, 99.9 % waits" in [t.get_text() for t in comparison.plot().texts]
    assert float(comparison.to_dataset().idle_fraction.sel(system="H100", batch=1)) == gpu.idle_fraction
    (ratio,) = [r for r in comparison.ratios if (r.system, r.batch) == ("H100", 256)]
    assert "of them are spent waiting" in str(ratio)
    # What does not wait has none of these words.
    assert not [s for s in waiting.sentences(comparison.breakdowns) if s.startswith(("pcm", "Eyeriss", "brain"))]


def test_a_share_is_never_rounded_to_all():
    found = [waiting.percent(share) for share in (0.51, 0.987, 0.9994, 0.99994, 0.9999999)]
    assert waiting.MOST == energy_figure.MOST
    assert found == ["51 %", "98.7 %", "99.94 %", "99.99 %", "over 99.99 %"]


def test_ratios_say_what_they_compare(comparison):
    # One inference over one inference of the same batch; ends cross: the least of one over the most of the other.
    pcm, pcm_many, gpu, gpu_many = comparison.breakdowns[:4]
    found = {(r.system, r.batch): r for r in comparison.ratios}
    for own, other in ((pcm, gpu), (pcm_many, gpu_many)):
        ratio = found["H100", other.batch]
        assert ratio.typical == pytest.approx(other.energy_typical_j / own.energy_typical_j)
        assert ratio.low == pytest.approx(other.energy_low_j / own.energy_high_j)
        assert ratio.high == pytest.approx(other.energy_high_j / own.energy_low_j)
        assert ratio.per == "MAC"
        assert not ratio.is_partial
    text = " ".join(str(comparison).split())
    assert "over both ranges), per MAC" in text
    assert "over both ranges), arriving spike instead of a MAC; it excludes part of the model" in text
    assert {r["per"] for r in comparison.to_dict()["ratios"]} == {"MAC", "arriving spike"}


def test_a_name_is_no_markup(digits):
    _, variables, x = digits
    hardware = preset("pcm").replace(name="my [bold] chip")
    assert "my [bold] chip" in str(compare(MLP(hardware), variables, x, batch=1))


def test_one_system_and_one_batch_may_be_given_bare(digits):
    result = compare(*digits, systems="A100", batch=np.int64(8))
    assert [(b.system, b.batch) for b in result.breakdowns] == [("pcm", 8), ("A100", 8)]


def test_layers_on_different_hardware():
    class Mixed(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = AnalogDense(8, hardware=preset("pcm"))(x)
            x = nn.Dense(8)(x)
            return AnalogDense(4, hardware=preset("int8"))(x)

    x = jnp.ones((2, 6))
    result = compare(Mixed(), Mixed().init(jax.random.key(0), x), x, systems=(), batch=1)
    assert result.hardware.system == "pcm + int8"
    # A dispatch, a read; 64 and 32 MAC and 8, 8, 4 biases by the digital unit; 6 and 4 * 4 B beside or after it.
    digital_s, outputs_s = (64 + 32 + 20) / 256e9, 16 / 25.6e9
    assert result.hardware.latency_s == pytest.approx(5e-6 + 250e-9 + digital_s + outputs_s)
    assert result.other_parameters == 8 + (64 + 8) + 4  # biases and the whole digital layer
    assert result.macs == 48 + 64 + 32
    assert result.work.analog_macs == 48 + 32


@pytest.mark.parametrize("batch", [0, -1, 1.5, True, "8", (1, 0), None])
def test_a_batch_is_a_positive_integer(digits, batch):
    with pytest.raises(InputError, match=r"batch = .*: must be an integer of at least 1"):
        compare(*digits, batch=batch)


def test_no_batch_is_refused(digits):
    with pytest.raises(InputError, match="batch"):
        compare(*digits, batch=())


@pytest.mark.parametrize("systems", [3, None, 1.5])
def test_systems_are_names(digits, systems):
    with pytest.raises(InputError, match=rf"systems = {systems}: must be names, for example"):
        compare(*digits, systems=systems)


def test_unknown_systems_are_refused_with_the_nearest(digits):
    with pytest.raises(InputError, match=r"unknown system 'H10'; did you mean 'H100'\?"):
        compare(*digits, systems=("H10",))
    with pytest.raises(InputError, match="known: A100, Edge TPU, Eyeriss, H100, H200, Jetson Orin, Loihi"):
        compare(*digits, systems=("abacus",))
    assert {"A100", "Eyeriss", "H100", "H200", "TPU v1", "TPU v4", "Xeon", "photonic mesh", "brain"} < set(SYSTEMS)


def test_hardware_may_not_take_a_system_s_name(digits):
    _, variables, x = digits
    with pytest.raises(InputError, match="'H100' is also the name of the hardware"):
        compare(MLP(preset("pcm").replace(name="H100")), variables, x)


def test_a_sample_without_an_axis_of_examples_is_refused():
    model = AnalogDense(4, hardware=preset("pcm"))
    variables = model.init(jax.random.key(0), jnp.ones((1, 6)))
    with pytest.raises(InputError, match=r"1 products for 6 examples.*leading axis"):
        compare(model, variables, jnp.ones(6))
    with pytest.raises(InputError, match="at least one example"):
        compare(model, variables, jnp.ones((0, 6)))
    with pytest.raises(InputError, match="at least one example"):
        compare(model, variables, 1.0)


def test_layers_side_by_side_are_counted_one_by_one():
    # Two layers of 6 x 4 on the same input: 48 MACs an example, 2 x 6 numbers in, 2 x 4 out, 2 x 24 weights.
    stacked = nn.vmap(nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True}, axis_size=2, in_axes=None)
    hook = AnalogDense(4, hardware=preset("pcm")).dot_general_cls
    model, x = stacked(4, dot_general_cls=hook), jnp.ones((3, 6))
    result = compare(model, model.init(jax.random.key(0), x), x, systems="H100", batch=1)
    assert result.macs == 48
    assert result.other_parameters == 8
    assert result.arrays.cells == 2 * 48
    own, gpu = result.breakdowns
    assert {x.component: x.count for x in own.items if x.component in ("DAC", "ADC")} == {"DAC": 12, "ADC": 8}
    assert {x.action: x.count for x in gpu.items if x.component in ("arithmetic", "memory")} == {
        "MAC": 48,
        "other result": 8,
        "transfer": 2 * (48 + 6 + 8),  # one input for both
    }
