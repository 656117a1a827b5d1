"""What a run would stumble over, looked at before it: machine, destination, host, keys, access.

`findings` says what a check is, `machine`, `destination`, `host` and `access` make them, and
`examine` puts them in the order in which a run would meet the trouble.
"""

from exporter.doctor.examine import Patient, examine
from exporter.doctor.findings import NAMES, Check, State, exit_code_of
from exporter.doctor.machine import versions

__all__ = ["NAMES", "Check", "Patient", "State", "examine", "exit_code_of", "versions"]
