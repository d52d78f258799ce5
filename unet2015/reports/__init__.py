"""From the records of runs to tables, statistics, pages and figures."""
