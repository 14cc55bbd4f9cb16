"""From an asked budget to a gate's knob and pace, on calibration videos; what they promise."""
