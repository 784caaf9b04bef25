"""Energy of digital numbers: per multiply-accumulate by number format, per byte by memory.

    MAC = multiply + accumulate           e(node) = e_45 (node / 45)^s,  s = ln(e_45 / e_7) / ln(45 / 7)

Tables of 45 nm (Horowitz, ISSCC 2014, doi 10.1109/ISSCC.2014.6757323) and 7 nm (Jouppi et al., ISCA 2021, doi
10.1109/ISCA52012.2021.00010), both recalled; between them the power law through the two points. Below 7 nm energy
falls with the square root of the node, as is usually assumed; above 45 nm it grows as logic at 0.9 V does
(``scaling``). Both, and a memory beyond the table, are extrapolations: ``extrapolated`` says so in words for a report.

Formats that the tables lack are assumptions, and their sources say which. A multiplier's energy goes with the square
of its bits. Block floating point (MSFP: Rouhani et al., NeurIPS 2020; MXFP4: Rouhani et al., arXiv 2310.10537) takes

    MAC = (m / 8)^2 int8 multiply + int32 add + (int8 add + fp32 add) / block

How far that carries: Rouhani et al. report MSFP16 at a third of the cost of bfloat16 and MSFP12 at a quarter of int8's
(what the cost counts, the abstract does not say). Here bfloat16 takes 4.8 times the energy of MSFP16 at 7 nm (4.4 at
45 nm) and 1.9 times its bits; int8 takes only 1.4 times the energy of MSFP12 and 1.8 times its bits. The first is about
half as much again as the report, the second misses it: three quarters of MSFP12's energy here is accumulation with the
32-bit adders of the tables, where its own hardware can add the products of a block in fewer bits.
"""

import dataclasses
import math

import numpy as np

from analogsim.base.errors import InputError, nearest_of
from analogsim.base.literature import Source, cited
from analogsim.energy.machines import scaling

#: Columns of a digital device's peak rates.
PEAKS = ("fp32", "bf16", "fp8", "int8", "int4")

#: Nanometres for which a price is given at all.
NODE_RANGE = (2.0, 130.0)

#: Bytes for which a memory's price is given at all: 1 kB to 64 MB.
SRAM_RANGE = (2.0**10, 2.0**26)

_OLD_NM, _NEW_NM = 45.0, 7.0
_V = 0.9  # the supply of the 45 nm table


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberFormat:
    """A number format with the energy of its arithmetic.

    Attributes:
      name: key in ``FORMATS``.
      bits: bits of one element in memory, including its fraction of a block's exponent.
      multiply_45nm_j, accumulate_45nm_j: joules at 45 nm and 0.9 V.
      multiply_7nm_j, accumulate_7nm_j: joules at 7 nm.
      block: elements that share an exponent; 1 for none.
      peak: which peak rate of a device it is computed at, of ``PEAKS``.
      source: where the joules come from; assumptions say so.

    Raises:
      InputError: where a number is not positive or the peak not known.

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
    """The energy per bit to or from an external memory.

    Attributes:
      name: key in ``DRAM``.
      low_j_per_bit: the memory device, or the better end of what is reported.
      high_j_per_bit: with interface and controller, or the worse end; the low one where only one figure is known.
      source: where they come from and what they count.
    """

    name: str
    low_j_per_bit: float
    high_j_per_bit: float
    source: Source

    @property
    def typical_j_per_bit(self) -> float:
        """The geometric mean of both ends, which are all that is known; the one figure where there is but one."""
        if self.low_j_per_bit == self.high_j_per_bit:
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


def _made(
    name: str,
    bits: float,
    peak: str,
    multiply_j: np.ndarray,
    add_j: np.ndarray,
    note: str,
    *papers: str,
    block: int = 1,
) -> NumberFormat:
    """A format from its multiply and its add at [45 nm, 7 nm]; a block adds its exponents and its sum once."""
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


_BLOCK_NOTE = "assumption: {} multiply + int32 add, an int8 add (exponents) and a fp32 add a block of {}; peak of {}"

_FORMATS = (
    _made("fp32", 32.0, "fp32", _FP32_MULTIPLY, _FP32_ADD, "fp32 multiply + fp32 add"),
    _made(
        "bf16", 16.0, "bf16", _BF16_MULTIPLY, _FP32_ADD,
        "bf16 multiply + fp32 add; assumption at 45 nm: fp16's multiply times the ratio of the two at 7 nm",
    ),
    _made("fp16", 16.0, "bf16", _FP16_MULTIPLY, _FP32_ADD, "fp16 multiply + fp32 add"),
    _made(
        "fp8", 8.0, "fp8", _INT4_MULTIPLY + _INT8_ADD, _FP32_ADD,
        "assumption: 4-bit significands (e4m3) at a quarter of the int8 multiply, an int8 add (exponents), fp32 add",
    ),
    _made("int8", 8.0, "int8", _INT8_MULTIPLY, _INT32_ADD, "int8 multiply + int32 add"),
    _made("int4", 4.0, "int4", _INT4_MULTIPLY, _INT32_ADD, "assumption: a quarter of the int8 multiply + int32 add"),
    _made(
        "msfp12", 4.0 + 8.0 / 16, "int4", _INT4_MULTIPLY, _INT32_ADD, _BLOCK_NOTE.format("int4", 16, "int4"),
        "rouhani2020", block=16,
    ),
    _made(
        "msfp16", 8.0 + 8.0 / 16, "int8", _INT8_MULTIPLY, _INT32_ADD, _BLOCK_NOTE.format("int8", 16, "int8"),
        "rouhani2020", block=16,
    ),
    _made(
        "mxfp4", 4.0 + 8.0 / 32, "int4", _INT4_MULTIPLY, _INT32_ADD, _BLOCK_NOTE.format("int4", 32, "int4"),
        "rouhani2023", block=32,
    ),
)  # fmt: skip

#: Number formats by name.
FORMATS: dict[str, NumberFormat] = {made.name: made for made in _FORMATS}

_PJ = 1e-12
_HBM2 = cited("oconnor2017", "jouppi2023", note="device; with interface and controller")
_DRAM = (
    Dram(
        name="DDR3", low_j_per_bit=70 * _PJ, high_j_per_bit=70 * _PJ,
        source=Source(note="whole memory system in use, as in Accelergy's CACTI plug-in"),
    ),
    Dram(
        name="DDR4", low_j_per_bit=15 * _PJ, high_j_per_bit=20 * _PJ,
        source=Source(note="range of what is reported", recalled=True),
    ),
    Dram(
        name="LPDDR4", low_j_per_bit=8 * _PJ, high_j_per_bit=8 * _PJ,
        source=Source(note="as in Accelergy's CACTI plug-in"),
    ),
    Dram(
        name="LPDDR5", low_j_per_bit=8 * _PJ, high_j_per_bit=8 * _PJ,
        source=Source(note="assumption: no more than LPDDR4, of which Accelergy's CACTI plug-in has 8 pJ/bit"),
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

#: Outside memories by name.
DRAM: dict[str, Dram] = {kind.name: kind for kind in _DRAM}


def mac_j(number_format: NumberFormat | str, node_nm: float) -> float:
    """Return the joules per multiply-accumulate, between the 45 and the 7 nm table by a power law in the node.

    Args:
      number_format: a ``NumberFormat``, or a name in ``FORMATS``.
      node_nm: process in nanometres, 2 to 130. Beyond the tables the figure is extrapolated: see ``extrapolated``.

    Raises:
      InputError: for an unknown format or a node outside.

    Example:
      >>> mac_j("fp32", 45), mac_j("bf16", 7)
      (4.6e-12, 5.9e-13)
    """
    found = _format(number_format)
    return _at_node(
        found.multiply_45nm_j + found.accumulate_45nm_j, found.multiply_7nm_j + found.accumulate_7nm_j, _node(node_nm)
    )


def add_j(node_nm: float) -> float:
    """Return the joules per fp32 addition, which other arithmetic is counted in; node as for ``mac_j``.

    Example:
      >>> add_j(7)
      3.8e-13
    """
    return _at_node(float(_FP32_ADD[0]), float(_FP32_ADD[1]), _node(node_nm))


def multiply_j(node_nm: float) -> float:
    """Return the joules per fp32 multiplication outside of products; node as for ``mac_j``.

    Example:
      >>> multiply_j(7)
      1.31e-12
    """
    return _at_node(float(_FP32_MULTIPLY[0]), float(_FP32_MULTIPLY[1]), _node(node_nm))


def sram_j_per_byte(capacity_bytes: float, node_nm: float) -> float:
    """Return the joules per byte read from an on-chip memory, an eighth of a 64-bit read.

    A power law in the capacity between 8 kB, 32 kB and 1 MB (10, 20, 100 pJ per read at 45 nm; 7.5, 8.5, 14 pJ at
    7 nm). Smaller memories scale with its square root, larger ones as from 32 kB to 1 MB. A write is assumed to cost
    as much as a read.

    Args:
      capacity_bytes: of the memory, 1 kB (1024) to 64 MB. Beyond 8 kB to 1 MB it is extrapolated.
      node_nm: process in nanometres, 2 to 130.

    Raises:
      InputError: for a capacity or a node outside.

    Example:
      >>> round(sram_j_per_byte(2**20, 7) * 8e12, 6)  # pJ of a 64-bit read
      14.0
    """
    size = math.log(_capacity(capacity_bytes))
    old_j, new_j = (math.exp(_log_line(size, table)) for table in (_SRAM_45NM, _SRAM_7NM))
    return _at_node(old_j, new_j, _node(node_nm))


def extrapolated(node_nm: float, capacity_bytes: float | None = None) -> str:
    """How a price lies beyond the tables, in words; ``""`` where it does not.

    Args:
      node_nm: process in nanometres, 2 to 130.
      capacity_bytes: of a memory, where the price is one.

    Raises:
      InputError: for a capacity or a node outside.

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
    """Energy at a node from that at 45 nm and that at 7 nm."""
    if node_nm < _NEW_NM:
        return new_j * math.sqrt(node_nm / _NEW_NM)
    if node_nm > _OLD_NM:
        nodes = [node for node in sorted(scaling.nodes()) if node >= _OLD_NM]
        factors = [math.log(scaling.energy_factor(_OLD_NM, node, _V, _V)) for node in nodes]
        return old_j * math.exp(float(np.interp(math.log(node_nm), np.log(nodes), factors)))
    share = math.log(_OLD_NM / node_nm) / math.log(_OLD_NM / _NEW_NM)
    return old_j ** (1.0 - share) * new_j**share


def _log_line(size: float, table: dict[int, float]) -> float:
    """ln of the joules a byte at ln of the capacity: straight between two points.

    Beyond 1 MB the last line goes on; below 8 kB the square root of 45 nm serves both tables, which else would cross.
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
