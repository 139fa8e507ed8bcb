"""How human a movement is: gait, EMG, and simulation against the laboratory."""
