"""A local Rollbar: items in, items and occurrences out, grouped by the documented algorithm.

:mod:`~localstack.rollbar.payload` decides whether a payload is an item, :mod:`~localstack.rollbar.grouping` which item an occurrence
belongs to; both are pure. :mod:`~localstack.rollbar.models` holds the state and knows no HTTP; :mod:`~localstack.rollbar.routes` speaks
Rollbar's API version 1. What it does not do is listed in ``docs/local-rollbar.md``.
"""
