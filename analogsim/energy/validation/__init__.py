"""The energy account compared with published chips: computed value, published value, ratio, and calibration.

    for check in validation():
        print(check.system, check.quantity, check.ratio, check.holds)
    print(table())                  # also: analogsim energy --validate

Six kinds of checks and their tolerances:

    identity       arithmetic on published numbers                       1 %
    roll-up        sum of a published table of parts                     0.5 %
    calibrated     a model fitted to some points predicts other points   25 % each; 15 % on average per system
    uncalibrated   formulas with their default energies                  a stated factor
    part           components alone, compared with the whole chip        at most the whole, at least a stated fraction
    bound          the model must not lie below the measurement          none

The comparison is data: ``data/points.csv`` lists the published figures with source and provenance,
``data/machines.toml`` the composition of the published systems, and ``data/checks.toml`` the checks, which ``account``
evaluates.

A check can contradict the account only if it compares a constant of the account (``Check.rests_on``) with a number that
the constant was not read from. A test verifies that every such check misses if the constant is ten times too large or
too small. All other checks are bookkeeping: arithmetic on the numbers of one or two publications, points that alone
determined a constant, ranges built from the figure they would test. They reveal copying errors and never count as
agreement.
"""

from analogsim.energy.validation.account import validation as validation
from analogsim.energy.validation.checks import KINDS as KINDS
from analogsim.energy.validation.checks import SCOPES as SCOPES
from analogsim.energy.validation.checks import Check as Check
from analogsim.energy.validation.checks import point as point
from analogsim.energy.validation.checks import points as points
from analogsim.energy.validation.tables import markdown as markdown
from analogsim.energy.validation.tables import table as table
from analogsim.energy.validation.tables import text as text
