"""The compiled module: importing it registers the operators of `torch.ops.rnnmem`."""
