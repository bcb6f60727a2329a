"""Generated inputs for every decoder and every handler of bytes from outside.

`tests.fuzz.targets` lists the targets; each is a function of bytes that returns when the input is handled as
documented, be it accepted or refused, and raises when it is not. The test suite gives each a few hundred inputs;
``make fuzz`` runs coverage-guided campaigns of millions with Atheris (``tests.fuzz.campaign``).
"""
