"""One whole Flax model, whichever API it is written in.

protocol   BoundModel and FrontEnd: what the rest of the package asks of a model, and what a third front end would take
bound      bind, observe: a model with its arrays; the one place that tells Linen from NNX
convert    convert, to_digital: a model on hardware, and back
summary    summary: a table of a model's layers
compress   compress, round_model: a model's matrices as tensor trains or low-rank cores
"""

from analogsim.models.bound import bind as bind
from analogsim.models.bound import observe as observe
from analogsim.models.compress import Compressed as Compressed
from analogsim.models.compress import compress as compress
from analogsim.models.compress import round_model as round_model
from analogsim.models.convert import convert as convert
from analogsim.models.convert import to_digital as to_digital
from analogsim.models.protocol import BoundModel as BoundModel
from analogsim.models.protocol import FrontEnd as FrontEnd
from analogsim.models.summary import summary as summary
