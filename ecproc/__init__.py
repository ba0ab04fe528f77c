"""The client end of Ensono's Envision Connect bridge: an event-sourced, exactly-recorded ticket processor."""

__version__ = "0.1.0"
