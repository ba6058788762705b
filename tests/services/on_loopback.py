"""Starts LocalStack on loopback only: its server ignores the host of GATEWAY_LISTEN and would listen on every interface."""

from twisted.internet import endpoints

original = endpoints.TCP4ServerEndpoint.__init__


def listen_on_loopback(self, reactor, port, backlog=50, interface=""):
    original(self, reactor, port, backlog, interface or "127.0.0.1")


endpoints.TCP4ServerEndpoint.__init__ = listen_on_loopback

from localstack.runtime.main import main  # noqa: E402  (after the change above)

main()
