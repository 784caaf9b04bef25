"""One whole Flax model, of either front end.

protocol   BoundModel, FrontEnd: what the rest of the package asks of a model, and what a third front end takes
bound      bind, front_end_of, observe: the one place that tells front ends apart
convert    convert, to_digital: a model on hardware, and back
summary    summary: a table of a model's layers
compress   a model's matrices as tensor trains or low-rank cores
"""
