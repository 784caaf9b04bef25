"""One self-contained HTML page: text, tables and figures in a single file that opens offline, on a desk or a phone.

results   write: the page about a file of results or a dataset, as ``analogsim report`` makes it
html      the blocks of a page of your own: page, paragraph, bullets, numbered, preformatted, table, figure, png
tables, figures, wording, file   what is on the page of results, and how it is read
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
