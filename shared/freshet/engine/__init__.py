"""The dispatcher's passes: fold, decide, refill, ring.

Purpose: what the core answers becomes rows, and rows become messages. Guarantees: each pass is a public verb that
does one round and returns what it did; several dispatchers at once are safe. Never: a life-cycle rule of its own
(that is `freshet.domain`) or a loop (that is `freshet.runtime`).
"""
