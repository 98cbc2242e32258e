"""Trace retrieval."""

from __future__ import annotations

from typing import Any

from localstack.aws.xray.models import XRay
from localstack.aws.xray.responses.common import Handler, Members
from localstack.aws.xray.responses.graphs import KeptPages, graph_members

#: GraphLink's ReferenceType: what a link of a span leads to is what its trace goes back to. AWS documents no values.
PARENT = "parent"
#: Links of a service in an answer, by the service model.
MAX_LINKS = 100


class RetrievalResponses:
    def __init__(self, xray: XRay) -> None:
        self._xray = xray
        self._pages = KeptPages()
        self.handlers: dict[str, Handler] = {
            "StartTraceRetrieval": self.start_trace_retrieval,
            "ListRetrievedTraces": self.list_retrieved_traces,
            "GetRetrievedTracesGraph": self.get_retrieved_traces_graph,
            "CancelTraceRetrieval": self.cancel_trace_retrieval,
        }

    def start_trace_retrieval(self, members: Members) -> dict[str, Any]:
        return {"RetrievalToken": self._xray.retrievals.start(members["TraceIds"], members["StartTime"], members["EndTime"])}

    def list_retrieved_traces(self, members: Members) -> dict[str, Any]:
        """Empty until the retrieval is complete, as AWS's is. The format is XRAY unless another one is asked for (ours)."""
        retrieval = self._xray.retrievals.get(members["RetrievalToken"])
        form = members.get("TraceFormat", "XRAY")
        answer: dict[str, Any] = {"RetrievalStatus": retrieval.status, "TraceFormat": form, "Traces": []}
        if retrieval.status != "COMPLETE":
            return answer
        parts, token = self._xray.retrievals.page(retrieval, form, members.get("NextToken"))
        answer["Traces"] = [
            {
                "Id": part.id,
                "Duration": part.duration,
                "Spans": [{"Id": identity, "Document": document} for identity, document in part.spans],
            }
            for part in parts
        ]
        return answer | ({"NextToken": token} if token is not None else {})

    def get_retrieved_traces_graph(self, members: Members) -> dict[str, Any]:
        retrieval = self._xray.retrievals.get(members["RetrievalToken"])
        answer: dict[str, Any] = {"RetrievalStatus": retrieval.status, "Services": []}
        if retrieval.status != "COMPLETE":
            return answer
        query = ("GetRetrievedTracesGraph", retrieval.token)
        if "NextToken" in members:
            services, more = self._pages.next(members["NextToken"], query)
            return answer | {"Services": services} | more
        graph, links = self._xray.retrievals.graph(retrieval)
        described = []
        for service, service_members in zip(graph.services, graph_members(graph), strict=True):
            own = [
                {"ReferenceType": PARENT, "SourceTraceId": link.source, "DestinationTraceIds": list(link.destinations)}
                for link in links
                if link.service == service.service and not service.client
            ]
            described.append({"Service": service_members, "Links": own[:MAX_LINKS]})
        services, more = self._pages.first(described, query)
        return answer | {"Services": services} | more

    def cancel_trace_retrieval(self, members: Members) -> dict[str, Any]:
        self._xray.retrievals.cancel(members["RetrievalToken"])
        return {}
