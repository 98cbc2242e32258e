"""The state of X-Ray of one account in one region: one part a concern. Knows no HTTP and no JSON body."""

from __future__ import annotations

from localstack.aws.xray.account.destinations import Destinations
from localstack.aws.xray.account.encryption import Encryption
from localstack.aws.xray.account.policies import Policies
from localstack.aws.xray.filters.groups import Groups
from localstack.aws.xray.filters.selecting import Filters
from localstack.aws.xray.graphs.service_graph import Graphs
from localstack.aws.xray.graphs.timeseries import TimeSeries
from localstack.aws.xray.insights.state import Insights
from localstack.aws.xray.sampling.rules import Sampling
from localstack.aws.xray.segments.validation import LENIENT, Limits
from localstack.aws.xray.segments.writing import Segments
from localstack.aws.xray.spans.receiving import Spans
from localstack.aws.xray.spans.retrieval import Retrievals
from localstack.aws.xray.traces.index import Index
from localstack.aws.xray.traces.reading import Traces
from localstack.store import Store


class XRay:
    """X-Ray of one account in one region."""

    def __init__(self, store: Store, region: str, limits: Limits = LENIENT) -> None:
        self.store = store
        self.destinations = Destinations(store, region)
        self.spans = Spans(store, self.destinations)
        self.segments = Segments(store, self.spans.tables, limits)
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
