"""Flows, meters and groups: identity, decomposition, rules, tables, and the calls on logical devices."""
