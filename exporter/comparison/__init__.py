"""Raw against redacted: what two recordings of one direction prove about each other.

To a key without access to personal data the API answers a request for raw audio with redacted
audio, and says nothing. So a file is raw only if something proves it; the proof is its counterpart.

The decoded audio of both is compared in windows of 20 ms. `reading` finds it in the files,
`samples` decodes it, `windows` says what the difference between two windows is, `spans` puts the
windows together, and `compare` leads and concludes.

=============  ===================================================================================
`confirmed`    The redacted recording is muted somewhere where the raw one is not; elsewhere they
               are the same.
`identical`    Nothing that is muted in one is heard in the other; they are the same.
`inconsistent` They differ where neither is muted, or the raw one is the muted one, or one is more
               than 100 ms longer.
`unpaired`     They cannot be compared: sample rate or channels differ, or they differ in an
               encoding that cannot be decoded.
=============  ===================================================================================

*The same* is: sample for sample, or changed by no more than encoding once more changes it: the
difference is 20 dB below the audio. Such changes alone are never taken for redaction.

*Muted* is: below -50 dBFS (8-bit PCM: -45) and at least 6 dB below the other. That holds digital
silence, dither and comfort noise. Where the rest is the same sample for sample, digital silence
counts as muted also over audio that is quiet itself.

A muted span is at least 60 ms long (digital silence with an exact rest: 20 ms); a shorter one is a
difference. Spans are joined when nothing is heard for up to 200 ms between them, or when they are
no more than 40 ms apart. They may fade in and out for 40 ms.

Not seen is what is not there: muting where the raw audio is digital silence; and, where the rest is
not exact, the quiet edges of a span. Shifted audio is not aligned: it is `inconsistent`, for what
was taken away to shift it is unknown. After 10 s of unexplained differences the rest is only
compared, not explained: whatever differs there is listed as differing.
"""

from exporter.comparison.compare import Comparison, compare

__all__ = ["Comparison", "compare"]
