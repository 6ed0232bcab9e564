"""What a user says with clicks: the clicks, their files, their maps in millimetres, and simulated users."""
