"""Other machines that compute the same: processors, Eyeriss, spiking chips, photonic ones, the brain."""
