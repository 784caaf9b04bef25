"""Self-contained HTML reports: text, tables and figures in a single file that opens offline, on desktop and phone.

results   write: the report of a results file or dataset, as ``analogsim report`` makes it
html      building blocks for other pages: page, paragraph, bullets, numbered, preformatted, table, figure, png
tables, figures, wording, file   the contents of the report of results
"""

from analogsim.report.html import bullets as bullets
from analogsim.report.html import figure as figure
from analogsim.report.html import numbered as numbered
from analogsim.report.html import page as page
from analogsim.report.html import paragraph as paragraph
from analogsim.report.html import png as png
from analogsim.report.html import preformatted as preformatted
from analogsim.report.html import table as table
from analogsim.report.results import write as write
