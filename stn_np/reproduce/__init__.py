"""The paper's tables from one command, ``stn-np reproduce``.

tables.py says what the cells are, job.py trains one, sweep.py all of them, report.py has the
figures.
"""
