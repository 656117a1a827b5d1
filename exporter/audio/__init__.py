"""WAV structure: is a body a whole WAV file, and what does it hold?

`inspector` walks over the chunks as the body arrives, `encodings` understands the `fmt ` chunk,
`lookalikes` tells what a body is that is no WAV file, and `verdicts` has the words of refusal.
Checked is the container (sizes, chunks, format), not how the samples sound.
"""

from exporter.audio.inspector import AudioPlace, WavInspector, inspect

__all__ = ["AudioPlace", "WavInspector", "inspect"]
