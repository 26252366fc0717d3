"""The poster's claims, judged on the runs of a results root: questions, measurements, verdicts, and their files."""
