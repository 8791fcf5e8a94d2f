"""The console at a size at which its pages still have to be quick."""
