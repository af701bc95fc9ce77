"""Plain data and the rules on it: standard library only, nothing of torch, numpy or the rest of this package."""
