"""A local imitation of the API, with faults on request.

It is the independent witness: it imports nothing from the rest of the package, so that a
misunderstanding of the API in the client cannot hide behind the same misunderstanding here.
"""

from exporter.sandbox.answers import Endpoint, Surface
from exporter.sandbox.calls import AudioSettings, Call, Direction, RedactionStyle
from exporter.sandbox.clock import Clock, SystemClock
from exporter.sandbox.faults import (
    Action,
    Bandwidth,
    Cut,
    Damage,
    Dribble,
    Gzip,
    Payload,
    Redirect,
    Reset,
    Respond,
    Stall,
    WrongBody,
    WrongType,
)
from exporter.sandbox.history import Environment, Happening, History, Order
from exporter.sandbox.journal import Request
from exporter.sandbox.limits import Limits, RetryAfterStyle
from exporter.sandbox.page_faults import BadPage, PageFault
from exporter.sandbox.rules import Match, Rule, Times
from exporter.sandbox.scenario import Scenario, ScenarioError, load_scenario, parse_scenario
from exporter.sandbox.serve import parse_call_seconds, serve
from exporter.sandbox.server import Sandbox
from exporter.sandbox.wav import Codec, HeaderStyle
from exporter.sandbox.world import (
    DEFAULT_KEYS,
    Conversation,
    Framing,
    Key,
    State,
    World,
)

__all__ = [
    "DEFAULT_KEYS",
    "Action",
    "AudioSettings",
    "BadPage",
    "Bandwidth",
    "Call",
    "Clock",
    "Codec",
    "Conversation",
    "Cut",
    "Damage",
    "Direction",
    "Dribble",
    "Endpoint",
    "Environment",
    "Framing",
    "Gzip",
    "Happening",
    "HeaderStyle",
    "History",
    "Key",
    "Limits",
    "Match",
    "Order",
    "PageFault",
    "Payload",
    "RedactionStyle",
    "Redirect",
    "Request",
    "Reset",
    "Respond",
    "RetryAfterStyle",
    "Rule",
    "Sandbox",
    "Scenario",
    "ScenarioError",
    "Stall",
    "State",
    "Surface",
    "SystemClock",
    "Times",
    "World",
    "WrongBody",
    "WrongType",
    "load_scenario",
    "parse_call_seconds",
    "parse_scenario",
    "serve",
]
