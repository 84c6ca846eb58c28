"""Plays the services upstream on their real wire formats: the demo without keys, and the judge of tests about money.

`app.build` makes the program, `__main__` runs it alone. Each service is a persona (`openrouter` today); what every
persona needs, memory, the submit log, drawing, writing and faults, stands beside them and speaks no service's language.
"""
