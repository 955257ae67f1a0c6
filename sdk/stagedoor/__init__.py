"""Stagedoor's SDK: check access tokens inside your service, and know within milliseconds when one is revoked."""

from stagedoor.certificate import Certificate, ClientCertificates
from stagedoor.denials import Denial, DenialKind, DenialRule, DenialView, Snapshot
from stagedoor.dpop import Proof
from stagedoor.feed import Answer, Feed, Online, OnlineError
from stagedoor.guard import Guard
from stagedoor.keys import Algorithm, HttpKeys, KeySource, PublicKey, StaticKeys
from stagedoor.verdict import Allowed, Denied, Reason, Verdict

__all__ = [
    "Algorithm",
    "Allowed",
    "Answer",
    "Certificate",
    "ClientCertificates",
    "Denial",
    "DenialKind",
    "DenialRule",
    "DenialView",
    "Denied",
    "Feed",
    "Guard",
    "HttpKeys",
    "KeySource",
    "Online",
    "OnlineError",
    "Proof",
    "PublicKey",
    "Reason",
    "Snapshot",
    "StaticKeys",
    "Verdict",
]
