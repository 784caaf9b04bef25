"""Energy of digital arithmetic and memory: joules per multiply-accumulate by number format, per byte by memory.

    MAC = multiply + accumulate           e(node) = e_45 (node / 45)^s,  s = ln(e_45 / e_7) / ln(45 / 7)

Energies at 45 nm (Horowitz, ISSCC 2014, doi 10.1109/ISSCC.2014.6757323) and 7 nm (Jouppi et al., ISCA 2021, doi
10.1109/ISCA52012.2021.00010), both recalled, with a power law between the two points. Below 7 nm the energy falls with
the square root of the node, a common assumption; above 45 nm it grows as logic at 0.9 V does (``scaling``). These two
ranges, and memory sizes beyond the tables, are extrapolations, which ``extrapolated`` describes for reports.

Formats that the tables lack are assumptions, as their sources state. The energy of a multiplier grows with the square
of its bits. Block floating point (MSFP: Rouhani et al., NeurIPS 2020; MXFP4: Rouhani et al., arXiv 2310.10537) takes

    MAC = (m / 8)^2 int8 multiply + int32 add + (int8 add + fp32 add) / block

Limits of this model: Rouhani et al. report MSFP16 at a third of the cost of bfloat16 and MSFP12 at a quarter of int8's
(the abstract does not define the cost). Here bfloat16 takes 4.8 times the energy of MSFP16 at 7 nm (4.4 at 45 nm) and
1.9 times its bits; int8 takes only 1.4 times the energy of MSFP12 and 1.8 times its bits. The first ratio is about 1.5
times the reported one. The second is far below it: three quarters of MSFP12's energy here is accumulation with the
32-bit adders of the tables, whereas dedicated hardware can add the products of a block in fewer bits.
"""

import dataclasses
import math

import numpy as np

from analogsim.base.errors import InputError, nearest_of
from analogsim.base.literature import Source, cited
from analogsim.energy.machines import scaling

#: Number formats for which devices quote peak rates.
PEAKS = ("fp32", "bf16", "fp8", "int8", "int4")

#: Smallest and largest process node in nanometres.
NODE_RANGE = (2.0, 130.0)

#: Smallest and largest on-chip memory in bytes: 1 kB to 64 MB.
SRAM_RANGE = (2.0**10, 2.0**26)

_OLD_NM, _NEW_NM = 45.0, 7.0
_V = 0.9  # supply voltage of the 45 nm table


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberFormat:
    """A number format with the energy of its arithmetic.

    Attributes:
      name: key in ``FORMATS``.
      bits: bits per element in memory, including its fraction of a shared exponent.
      multiply_45nm_j, accumulate_45nm_j: joules per operation at 45 nm and 0.9 V.
      multiply_7nm_j, accumulate_7nm_j: joules per operation at 7 nm.
      block: elements that share an exponent; 1 if there is no shared exponent.
      peak: the format in ``PEAKS`` whose peak rate applies.
      source: source of the joules; states assumptions.

    Raises:
      InputError: for a number that is not positive, or an unknown peak.

    Example:
      >>> FORMATS["int8"].multiply_7nm_j + FORMATS["int8"].accumulate_7nm_j
      1e-13
    """

    name: str
    bits: float
    multiply_45nm_j: float
    accumulate_45nm_j: float
    multiply_7nm_j: float
    accumulate_7nm_j: float
    block: int = 1
    peak: str
    source: Source

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not 0 < value < math.inf:
                unit = " (unit: J)" if field.name.endswith("_j") else ""
                raise InputError(f"NumberFormat.{field.name} = {value!r}: must be a finite number above 0{unit}")
        if self.peak not in PEAKS:
            raise InputError(f"NumberFormat.peak = {self.peak!r}: must be one of {', '.join(PEAKS)}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dram:
    """An external memory with its energy per bit read or written.

    Attributes:
      name: key in ``DRAM``.
      low_j_per_bit: the memory device alone, or the lowest reported figure.
      high_j_per_bit: including interface and controller, or the highest reported figure; equal to the low one if only
        one figure is known.
      source: source of the figures, and what they include.
    """

    name: str
    low_j_per_bit: float
    high_j_per_bit: float
    source: Source

    @property
    def typical_j_per_bit(self) -> float:
        """The geometric mean of both ends."""
        if self.low_j_per_bit == self.high_j_per_bit:  # exact, without the rounding of the square root
            return self.low_j_per_bit
        return math.sqrt(self.low_j_per_bit * self.high_j_per_bit)


SRAM_SOURCE = cited("horowitz2014", "jouppi2021", note="64-bit reads of 8 kB, 32 kB and 1 MB", recalled=True)

# Joules of a 64-bit read by capacity in bytes.
_SRAM_45NM = {2**13: 10e-12, 2**15: 20e-12, 2**20: 100e-12}
_SRAM_7NM = {2**13: 7.5e-12, 2**15: 8.5e-12, 2**20: 14e-12}

# Joules of one operation at [45 nm, 7 nm].
_FP32_MULTIPLY, _FP32_ADD = np.array([3.7e-12, 1.31e-12]), np.array([0.9e-12, 0.38e-12])
_FP16_MULTIPLY = np.array([1.1e-12, 0.34e-12])
_BF16_MULTIPLY = _FP16_MULTIPLY * 0.21 / 0.34  # 0.21 pJ at 7 nm; the table of 45 nm has none
_INT8_MULTIPLY, _INT8_ADD = np.array([0.2e-12, 0.07e-12]), np.array([0.03e-12, 0.007e-12])
_INT4_MULTIPLY = _INT8_MULTIPLY / 4.0
_INT32_ADD = np.array([0.1e-12, 0.03e-12])


def _build(
    name: str,
    bits: float,
    peak: str,
    multiply_j: np.ndarray,
    add_j: np.ndarray,
    note: str,
    *papers: str,
    block: int = 1,
) -> NumberFormat:
    """Build a format from multiply and add at [45 nm, 7 nm]; per block, exponents and sums are added once."""
    accumulate_j = add_j + ((_INT8_ADD + _FP32_ADD) / block if block > 1 else 0.0)
    return NumberFormat(
        name=name,
        bits=bits,
        multiply_45nm_j=float(multiply_j[0]),
        accumulate_45nm_j=float(accumulate_j[0]),
        multiply_7nm_j=float(multiply_j[1]),
        accumulate_7nm_j=float(accumulate_j[1]),
        block=block,
        peak=peak,
        source=cited("horowitz2014", "jouppi2021", *papers, note=note, recalled=True),
    )


_BLOCK_NOTE = "assumption: {} multiply + int32 add, an int8 add (exponents) and an fp32 add per block of {}; peak of {}"

_FORMATS = (
    _build("fp32", 32.0, "fp32", _FP32_MULTIPLY, _FP32_ADD, "fp32 multiply + fp32 add"),
    _build(
        "bf16", 16.0, "bf16", _BF16_MULTIPLY, _FP32_ADD,
        "bf16 multiply + fp32 add; assumption at 45 nm: fp16 multiply times the ratio of the two at 7 nm",
    ),
    _build("fp16", 16.0, "bf16", _FP16_MULTIPLY, _FP32_ADD, "fp16 multiply + fp32 add"),
    _build(
        "fp8", 8.0, "fp8", _INT4_MULTIPLY + _INT8_ADD, _FP32_ADD,
        "assumption: 4-bit significands (e4m3) at a quarter of the int8 multiply, an int8 add (exponents), fp32 add",
    ),
    _build("int8", 8.0, "int8", _INT8_MULTIPLY, _INT32_ADD, "int8 multiply + int32 add"),
    _build("int4", 4.0, "int4", _INT4_MULTIPLY, _INT32_ADD, "assumption: a quarter of the int8 multiply + int32 add"),
    _build(
        "msfp12", 4.0 + 8.0 / 16, "int4", _INT4_MULTIPLY, _INT32_ADD, _BLOCK_NOTE.format("int4", 16, "int4"),
        "rouhani2020", block=16,
    ),
    _build(
        "msfp16", 8.0 + 8.0 / 16, "int8", _INT8_MULTIPLY, _INT32_ADD, _BLOCK_NOTE.format("int8", 16, "int8"),
        "rouhani2020", block=16,
    ),
    _build(
        "mxfp4", 4.0 + 8.0 / 32, "int4", _INT4_MULTIPLY, _INT32_ADD, _BLOCK_NOTE.format("int4", 32, "int4"),
        "rouhani2023", block=32,
    ),
)  # fmt: skip

#: Number formats by name.
FORMATS: dict[str, NumberFormat] = {number.name: number for number in _FORMATS}

_PJ = 1e-12
_HBM2 = cited("oconnor2017", "jouppi2023", note="device; with interface and controller")
_DRAM = (
    Dram(
        name="DDR3", low_j_per_bit=70 * _PJ, high_j_per_bit=70 * _PJ,
        source=Source(note="whole memory system in use, as in Accelergy's CACTI plug-in"),
    ),
    Dram(
        name="DDR4", low_j_per_bit=15 * _PJ, high_j_per_bit=20 * _PJ,
        source=Source(note="range of reported figures", recalled=True),
    ),
    Dram(
        name="LPDDR4", low_j_per_bit=8 * _PJ, high_j_per_bit=8 * _PJ,
        source=Source(note="as in Accelergy's CACTI plug-in"),
    ),
    Dram(
        name="LPDDR5", low_j_per_bit=8 * _PJ, high_j_per_bit=8 * _PJ,
        source=Source(note="assumption: no more than LPDDR4, which takes 8 pJ/bit in Accelergy's CACTI plug-in"),
    ),
    Dram(
        name="GDDR5", low_j_per_bit=14 * _PJ, high_j_per_bit=14 * _PJ,
        source=cited("oconnor2017", note="as in Accelergy's CACTI plug-in"),
    ),
    Dram(name="HBM2", low_j_per_bit=3.9 * _PJ, high_j_per_bit=7.0 * _PJ, source=_HBM2),
    Dram(
        name="HBM2e", low_j_per_bit=3.9 * _PJ, high_j_per_bit=7.0 * _PJ,
        source=cited("oconnor2017", "jouppi2023", note="assumption: as HBM2"),
    ),
    Dram(
        name="HBM3", low_j_per_bit=4.0 * _PJ, high_j_per_bit=7.0 * _PJ,
        source=cited("jouppi2023", note="device 4 pJ/bit; assumption for the high end: as HBM2", recalled=True),
    ),
    Dram(
        name="HBM3e", low_j_per_bit=4.0 * _PJ, high_j_per_bit=7.0 * _PJ,
        source=cited("jouppi2023", note="assumption: as HBM3, device 4 pJ/bit; high end as HBM2", recalled=True),
    ),
)  # fmt: skip

#: External memories by name.
DRAM: dict[str, Dram] = {dram.name: dram for dram in _DRAM}


def mac_j(number_format: NumberFormat | str, node_nm: float) -> float:
    """Return the joules per multiply-accumulate, by a power law in the node between the 45 nm and the 7 nm table.

    Args:
      number_format: a ``NumberFormat``, or a name in ``FORMATS``.
      node_nm: process node in nm, 2 to 130; below 7 and above 45 the energy is extrapolated (``extrapolated``).

    Raises:
      InputError: for an unknown format, or a node outside of 2 to 130 nm.

    Example:
      >>> mac_j("fp32", 45), mac_j("bf16", 7)
      (4.6e-12, 5.9e-13)
    """
    number = _format(number_format)
    old_j = number.multiply_45nm_j + number.accumulate_45nm_j
    return _at_node(old_j, number.multiply_7nm_j + number.accumulate_7nm_j, _node(node_nm))


def add_j(node_nm: float) -> float:
    """Return the joules per fp32 addition, the unit of other arithmetic; ``node_nm`` as for ``mac_j``.

    Example:
      >>> add_j(7)
      3.8e-13
    """
    return _at_node(float(_FP32_ADD[0]), float(_FP32_ADD[1]), _node(node_nm))


def multiply_j(node_nm: float) -> float:
    """Return the joules per fp32 multiplication outside of products; ``node_nm`` as for ``mac_j``.

    Example:
      >>> multiply_j(7)
      1.31e-12
    """
    return _at_node(float(_FP32_MULTIPLY[0]), float(_FP32_MULTIPLY[1]), _node(node_nm))


def sram_j_per_byte(capacity_bytes: float, node_nm: float) -> float:
    """Return the joules per byte read from an on-chip memory, an eighth of a 64-bit read.

    A power law in the capacity between 8 kB, 32 kB and 1 MB (10, 20, 100 pJ per read at 45 nm; 7.5, 8.5, 14 pJ at
    7 nm). Smaller memories scale with the square root of the capacity, larger ones as between 32 kB and 1 MB. A write
    is assumed to cost as much as a read.

    Args:
      capacity_bytes: capacity of the memory, 1 kB (1024) to 64 MB; extrapolated outside of 8 kB to 1 MB.
      node_nm: process node in nm, 2 to 130.

    Raises:
      InputError: for a capacity or a node outside of these ranges.

    Example:
      >>> round(sram_j_per_byte(2**20, 7) * 8e12, 6)  # pJ per 64-bit read
      14.0
    """
    size = math.log(_capacity(capacity_bytes))
    old_j, new_j = (math.exp(_log_line(size, table)) for table in (_SRAM_45NM, _SRAM_7NM))
    return _at_node(old_j, new_j, _node(node_nm))


def extrapolated(node_nm: float, capacity_bytes: float | None = None) -> str:
    """Describe how an energy is extrapolated beyond the tables; ``""`` if it is not.

    Args:
      node_nm: process node in nm, 2 to 130.
      capacity_bytes: capacity of the memory, if the energy is that of one.

    Raises:
      InputError: for a capacity or a node outside of the ranges of ``sram_j_per_byte``.

    Example:
      >>> extrapolated(28)
      ''
      >>> extrapolated(5)
      'extrapolated: 5 nm from 7 nm with the square root of the node'
    """
    notes = []
    if _node(node_nm) < _NEW_NM:
        notes.append(f"{node_nm:g} nm from 7 nm with the square root of the node")
    elif node_nm > _OLD_NM:
        notes.append(f"{node_nm:g} nm from 45 nm as logic at 0.9 V ({scaling.SOURCE})")
    if capacity_bytes is not None and not 2**13 <= _capacity(capacity_bytes) <= 2**20:
        notes.append(f"a memory of {capacity_bytes / 1024:g} kB from those of 8 kB to 1 MB")
    return f"extrapolated: {'; '.join(notes)}" if notes else ""


def _format(number_format: NumberFormat | str) -> NumberFormat:
    if isinstance(number_format, NumberFormat):
        return number_format
    if number_format not in FORMATS:
        raise InputError(f"number_format = {number_format!r}: {nearest_of(str(number_format), FORMATS)}")
    return FORMATS[number_format]


def _at_node(old_j: float, new_j: float, node_nm: float) -> float:
    """Return the energy at a node from the energies at 45 nm and 7 nm."""
    if node_nm < _NEW_NM:
        return new_j * math.sqrt(node_nm / _NEW_NM)
    if node_nm > _OLD_NM:
        nodes = [node for node in sorted(scaling.nodes()) if node >= _OLD_NM]
        factors = [math.log(scaling.energy_factor(_OLD_NM, node, _V, _V)) for node in nodes]
        return old_j * math.exp(float(np.interp(math.log(node_nm), np.log(nodes), factors)))
    position = math.log(_OLD_NM / node_nm) / math.log(_OLD_NM / _NEW_NM)  # 0 at 45 nm, 1 at 7 nm
    return old_j ** (1.0 - position) * new_j**position


def _log_line(size: float, table: dict[int, float]) -> float:
    """Return ln of the joules per byte at ln of the capacity, by linear interpolation.

    The last segment extends beyond 1 MB. Below 8 kB both tables follow the square root of the capacity, as at 45 nm;
    with separate exponents they would cross.
    """
    sizes, energies = np.log(list(table)), np.log([read_j / 8.0 for read_j in table.values()])
    if size < sizes[0]:
        return float(energies[0] + 0.5 * (size - sizes[0]))
    lower = min(int(np.searchsorted(sizes, size, side="right")) - 1, len(sizes) - 2)
    slope = (energies[lower + 1] - energies[lower]) / (sizes[lower + 1] - sizes[lower])
    return float(energies[lower] + slope * (size - sizes[lower]))


def _node(node_nm: float) -> float:
    low, high = NODE_RANGE
    if not (isinstance(node_nm, int | float) and low <= node_nm <= high):
        raise InputError(f"node_nm = {node_nm!r}: must be between {low:g} and {high:g} (unit: nm)")
    return float(node_nm)


def _capacity(capacity_bytes: float) -> float:
    low, high = SRAM_RANGE
    if not (isinstance(capacity_bytes, int | float) and low <= capacity_bytes <= high):
        raise InputError(
            f"capacity_bytes = {capacity_bytes!r}: must be between {low:.0f} (1 kB) and {high:.0f} (64 MB) (unit: B)"
        )
    return float(capacity_bytes)
