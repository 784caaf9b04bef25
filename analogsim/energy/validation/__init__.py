"""The energy account against published chips: our number, theirs, their ratio, and what was calibrated.

    for check in validation():
        print(check.system, check.quantity, check.ratio, check.holds)
    print(table())                  # also: analogsim energy --validate

Six kinds, and what each has to hold:

    identity       arithmetic on published numbers                      1 %
    roll-up        a published table of parts summed up                 0.5 %
    calibrated     a model fitted to some points, asked for the others  25 % each; 15 % on average of a system
    uncalibrated   formulae with their default prices                   a factor that is stated: as wrong as that
    part           components alone, of a whole chip                    at most all of it, at least a stated fraction
    bound          the model must not lie below the measurement         no tolerance

What is compared is data: ``data/points.csv`` has the published figures, with their source and how they are known,
``data/machines.toml`` what the machines consist of, ``data/checks.toml`` the rows. ``account`` runs them.

Only some rows can contradict the account: those in which a constant of it (``Check.rests_on``) meets a number that it
was not read from. A tenth or ten times that constant makes such a row miss, and a test does so with every one. The
others are bookkeeping: arithmetic on the numbers of one publication or of two, points that a constant was fitted to by
itself, bands built from the price they would test. They show slips of copying, and are never counted as agreement.
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
