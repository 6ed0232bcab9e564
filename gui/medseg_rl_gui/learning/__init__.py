"""What a user teaches: consent, rankings, abstentions, blind comparisons, and the store on this computer.

Calls the session and its recorder; the Learn tab in `panels` shows it. Opens no connection; starts no training.
"""
