"""A Grid that tells which replies have arrived, so that nobody has to poll for them."""

from abc import abstractmethod

from flwr.serverapp import Grid


class WaitingGrid(Grid):
    """A Grid that wakes the server when a reply arrives. Flower's Grids cannot do this."""

    @abstractmethod
    def await_answers(self, seconds: float) -> list[str]:
        """Wait for replies.

        Parameters
        ----------
        seconds : float
            Longest wait if no reply has arrived; 0 only looks.

        Returns
        -------
        list of str
            Ids of all messages whose replies can be pulled; empty if there are none after the wait.
        """
