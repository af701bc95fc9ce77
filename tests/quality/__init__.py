"""How well wrong gradients are found and correct ones left alone, measured on a corpus of models with known answers."""
