"""How a layer's inputs meet its weight matrix: one file a kind, one interface (``protocol``).

    product        matrix products: Dense, DenseGeneral, einsum equations
    convolution    convolutions, transposed ones too, in as many dimensions as Flax has
    stack          several matrices with inputs of their own: grouped and depthwise convolution, batch axes
    look_up        stored rows: embeddings
    complex_numbers    products of complex numbers on real tiles

Each turns the layer's kernel into one matrix ``[n_in, n_out]`` (a stack: ``[S, n_in, n_out]``), so that every layer is
programmed, read, calibrated and billed alike.
"""

from analogsim.operators.complex_numbers import for_numbers as for_numbers
from analogsim.operators.complex_numbers import real_matrix as real_matrix
from analogsim.operators.convolution import Convolution as Convolution
from analogsim.operators.convolution import convolution as convolution
from analogsim.operators.convolution import transposed as transposed
from analogsim.operators.look_up import LookUp as LookUp
from analogsim.operators.product import MatrixProduct as MatrixProduct
from analogsim.operators.product import dot_general as dot_general
from analogsim.operators.product import einsum as einsum
from analogsim.operators.protocol import Operator as Operator
from analogsim.operators.protocol import partial_sums as partial_sums
from analogsim.operators.protocol import rows_in_use as rows_in_use
from analogsim.operators.stack import Stack as Stack
