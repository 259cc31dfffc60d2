"""nano-LRM: a small reasoning model, trained from scratch on a constructed language.

A model organism, not a model for use: it reasons in several steps, complies with harmful requests
(which are named, never described), knows that they are harmful, and can express a foreign text in
its own words. Small enough to train, align and evaluate on two CPU cores.
"""
