"""One whole Flax model, of either front end.

bound      BoundModel: what the rest of the package asks a model for
convert    convert, to_digital: a model on hardware, and back
summary    summary: a table of a model's layers
compress   a model's matrices as tensor trains or low-rank cores
"""
