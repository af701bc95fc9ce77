"""The catalogue: a folder is a family, a file is a property, the file name is its id."""
