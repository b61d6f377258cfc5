"""The generated messages and stubs of the schema holdfast.v1."""
