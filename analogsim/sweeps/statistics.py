"""Mean and spread over chips."""

from typing import TYPE_CHECKING

from analogsim.base.errors import InputError, brief
from analogsim.sweeps.axes import CHIP

if TYPE_CHECKING:
    import xarray


def chip_statistics(data: "xarray.Dataset", share: float = 0.9) -> "xarray.Dataset":
    """Mean, standard deviation and the range of the middle chips, of every metric.

    Args:
      data: from ``sweep`` or ``evaluate``: chips that are not measured yet (NaN) do not count.
      share: how many chips lie within ``low`` and ``high``.

    Returns:
      The dataset with ``statistic`` (mean, std, low, high) in the place of ``chip``; the deviation is that of a sample
      (n - 1), NaN for one chip.

    Example:
      >>> import xarray
      >>> found = chip_statistics(xarray.Dataset({"score": ("chip", [0.8, 0.9, 1.0])}))
      >>> [round(float(found.score.sel(statistic=name)), 3) for name in ("mean", "std")]
      [0.9, 0.1]
    """
    import xarray

    if not hasattr(data, "dims") or CHIP not in data.dims:
        raise InputError(f"data = {brief(data)}: must be a dataset over chips, as sweep and evaluate return it")
    if not 0 < share <= 1:
        raise InputError(f"share = {share!r}: must be greater than 0 and at most 1")
    metrics = data[[name for name, variable in data.data_vars.items() if CHIP in variable.dims and name != "done"]]
    with xarray.set_options(keep_attrs=True):
        found = [
            metrics.mean(CHIP),
            metrics.std(CHIP, ddof=1) if data.sizes[CHIP] > 1 else metrics.mean(CHIP) * float("nan"),
            *(metrics.quantile(q, CHIP).drop_vars("quantile") for q in (0.5 - share / 2, 0.5 + share / 2)),
        ]
        both = xarray.concat(found, xarray.IndexVariable("statistic", ["mean", "std", "low", "high"]))
    others = [name for name in data.data_vars if name not in metrics and name != "done"]
    return both.assign({name: data[name] for name in others}).assign_attrs(data.attrs)
