"""Operators map a layer's inputs and kernel to products with a matrix: one file per kind, one interface.

operator         Operator: the interface; rows_in_use, partial_sums
product          matrix products: Dense, DenseGeneral, einsum equations
convolution      convolutions and transposed convolutions, in all dimensions that Flax supports
stack            several matrices with separate inputs: grouped and depthwise convolution, batch axes
lookup           stored rows: embeddings
complex_numbers  products of complex numbers on real tiles

Each turns the layer's kernel into one matrix ``[n_in, n_out]`` (a stack: ``[S, n_in, n_out]``), so that all layers are
programmed, read, calibrated and priced in the same way.
"""

from analogsim.signal_path.operators.complex_numbers import for_numbers as for_numbers
from analogsim.signal_path.operators.complex_numbers import real_matrix as real_matrix
from analogsim.signal_path.operators.convolution import Convolution as Convolution
from analogsim.signal_path.operators.convolution import convolution as convolution
from analogsim.signal_path.operators.convolution import transposed as transposed
from analogsim.signal_path.operators.lookup import Lookup as Lookup
from analogsim.signal_path.operators.operator import Operator as Operator
from analogsim.signal_path.operators.operator import partial_sums as partial_sums
from analogsim.signal_path.operators.operator import rows_in_use as rows_in_use
from analogsim.signal_path.operators.product import MatrixProduct as MatrixProduct
from analogsim.signal_path.operators.product import dot_general as dot_general
from analogsim.signal_path.operators.product import einsum as einsum
from analogsim.signal_path.operators.stack import Stack as Stack
