"""The poster's claims about the runs of a results root: what is asked, what was measured, the verdicts, their files."""
