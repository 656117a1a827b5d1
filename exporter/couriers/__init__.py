"""Who brings a recording from the API into the archive: in this process, or in others.

A `Courier` makes one attempt at one recording. It works in the run's own process, or, where
`limits.processes` asks for several, in processes of its own, to which a `Dispatcher` gives errands.
What is one for the whole run stays with the run: the rate, what is learnt of keys and host,
retries, the ledger and the results.
"""
