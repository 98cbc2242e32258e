"""One module a backend, all with the interface of :class:`services.compare.readers.base.Reader`."""
