"""Killable grading processes: hard deadlines, memory limits, no hang, no orphan.

`dispatch.Dispatcher` is what the host uses; `child` is what runs in the processes, in a fresh interpreter that has
imported neither torch nor the caller's `__main__`. Weights, totals and caching are the business of `scoring` and
`grading`. Linux; elsewhere the processes are killed all the same, but CPU time and descendants are not seen.
"""
