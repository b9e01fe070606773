"""Many runs beside each other: what a sweep ends with, and the table of `task=compare`."""
