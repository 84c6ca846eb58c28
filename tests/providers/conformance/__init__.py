"""One suite that every provider passes, against its persona in the simulator and against a scripted server.

A provider is plugged in with a `ProviderUnderTest` (see `under_test.py`) in the list of `conftest.py`. It says

- how the provider is built for given base URLs, and the paths of those at the simulator and at the scripted server;
- one small request for each kind that it serves, and which of these end after a submit and which are polled;
- which faults its persona plays. A fault is a directive in the prompt (`[refuse]`); a test whose fault is not played is left
  out for that provider, so the list should only grow. See `tests.providers.conformance.under_test.FAULTS`;
- where its paid calls go, and how a scripted server makes a job end with given links. With these two, the suite plays the
  faults that no persona can: answers that are lost, malformed, redirected, too large, or lead to private addresses.

What is special to a provider (parameters, routes, its own errors) is tested in its own folder.
"""
