"""dgr: Distribution-Grounded Refinement (arXiv 2602.02136) as a production MLOps pipeline.

A safety data set written by others is rewritten by the target model into its own words before
the safety SFT, so that the distribution gap, and with it the loss of reasoning, shrinks.
"""

__version__ = "0.1.0"
