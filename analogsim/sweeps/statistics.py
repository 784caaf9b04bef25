"""Mean, standard deviation and quantiles over chips."""

from typing import TYPE_CHECKING

from analogsim.base.errors import InputError, brief
from analogsim.sweeps.axes import CHIP

if TYPE_CHECKING:
    import xarray


def chip_statistics(data: "xarray.Dataset", fraction: float = 0.9) -> "xarray.Dataset":
    """Return mean, standard deviation and a central range over chips of every metric.

    Args:
      data: dataset of ``sweep`` or ``evaluate``; chips not computed yet (NaN) are skipped.
      fraction: fraction of chips between ``low`` and ``high``.

    Returns:
      the dataset with ``statistic`` (mean, std, low, high) instead of ``chip``; ``std`` is the sample standard
      deviation (divisor n - 1), NaN for one chip.

    Raises:
      InputError: for data without chips, or ``fraction`` outside (0, 1].

    Example:
      >>> import xarray
      >>> statistics = chip_statistics(xarray.Dataset({"score": ("chip", [0.8, 0.9, 1.0])}))
      >>> [round(float(statistics.score.sel(statistic=name)), 3) for name in ("mean", "std")]
      [0.9, 0.1]
    """
    import xarray

    if not hasattr(data, "dims") or CHIP not in data.dims:
        raise InputError(f"data = {brief(data)}: must be a dataset over chips, as sweep and evaluate return it")
    if not 0 < fraction <= 1:
        raise InputError(f"fraction = {fraction!r}: must be greater than 0 and at most 1")
    metrics = data[[name for name, variable in data.data_vars.items() if CHIP in variable.dims and name != "done"]]
    with xarray.set_options(keep_attrs=True):
        statistics = [
            metrics.mean(CHIP),
            metrics.std(CHIP, ddof=1) if data.sizes[CHIP] > 1 else metrics.mean(CHIP) * float("nan"),
            *(metrics.quantile(q, CHIP).drop_vars("quantile") for q in (0.5 - fraction / 2, 0.5 + fraction / 2)),
        ]
        summary = xarray.concat(statistics, xarray.IndexVariable("statistic", ["mean", "std", "low", "high"]))
    others = [name for name in data.data_vars if name not in metrics and name != "done"]
    return summary.assign({name: data[name] for name in others}).assign_attrs(data.attrs)
