"""What analog hardware costs: arrays, converters, buffers, time, area."""
