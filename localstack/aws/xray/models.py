"""The state of X-Ray of one account in one region: one part a concern. Knows no HTTP and no JSON body."""

from __future__ import annotations

from localstack.aws.xray.destinations import Destinations
from localstack.aws.xray.encryption import Encryption
from localstack.aws.xray.filters.selecting import Filters
from localstack.aws.xray.graphs import Graphs
from localstack.aws.xray.groups import Groups
from localstack.aws.xray.index import Index
from localstack.aws.xray.insights import Insights
from localstack.aws.xray.policies import Policies
from localstack.aws.xray.retrieval import Retrievals
from localstack.aws.xray.sampling import Sampling
from localstack.aws.xray.segments import LENIENT, Limits
from localstack.aws.xray.spans import Spans
from localstack.aws.xray.timeseries import TimeSeries
from localstack.aws.xray.traces import Traces
from localstack.aws.xray.writing import Segments
from localstack.store import Store


class XRay:
    """X-Ray of one account in one region."""

    def __init__(self, store: Store, region: str, limits: Limits = LENIENT) -> None:
        self.store = store
        self.destinations = Destinations(store, region)
        self.spans = Spans(store, self.destinations)
        self.segments = Segments(store, self.spans, limits)
        self.index = Index(store)
        self.sampling = Sampling(store, region)
        self.groups = Groups(store, region)
        self.filters = Filters(store, self.index, self.groups)
        self.traces = Traces(store, self.index, self.filters)
        self.graphs = Graphs(store, self.index)
        self.timeseries = TimeSeries(store, self.index)
        self.insights = Insights(store, self.index, self.graphs, self.groups, self.filters)
        self.encryption = Encryption(store, region)
        self.policies = Policies(store)
        self.retrievals = Retrievals(store)
