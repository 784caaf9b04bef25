"""Operations on whole Flax models, Linen and NNX alike.

protocol   BoundModel and FrontEnd: the interface to Linen and NNX, and how to add another front end
bound      bind, observe: a model with its arrays; the only module that distinguishes Linen from NNX
convert    convert, to_digital: move a model to analog hardware and back
summary    summary: list a model's layers
compress   compress, round_model: replace a model's matrices by tensor-train or low-rank cores
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
