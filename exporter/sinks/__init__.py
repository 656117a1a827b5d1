"""Where archives live.

`base` says what every sink promises; one contract test suite holds all of them to it.
"""
